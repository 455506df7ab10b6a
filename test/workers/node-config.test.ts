import { expect, it } from 'vitest';
import { readNodeConfig } from '../../workers/node-config.ts';

const NAMED = { MCLI_CLUSTER: 'c', MCLI_NODE: 'n' };

it('needs a cluster and a node only', () => {
  expect(readNodeConfig(NAMED)).toMatchObject({
    cluster: 'c',
    node: 'n',
    address: 'n',
    declaredGpus: undefined,
    allowLocalImages: false,
    containerNetwork: 'bridge',
    containerEnv: {},
    diskHighPercent: 85,
    natsServers: ['nats://127.0.0.1:4222'],
  });
});

it('reads declared GPUs, none included', () => {
  const gpus = (environment: Record<string, string>) =>
    readNodeConfig({ ...NAMED, ...environment }).declaredGpus;
  expect(gpus({ MCLI_NODE_GPUS: '8', MCLI_NODE_GPU_TYPE: 'a100_80gb' })).toEqual({
    count: 8,
    type: 'a100_80gb',
  });
  expect(gpus({ MCLI_NODE_GPUS: '0' })).toEqual({ count: 0, type: null });
});

it('names everything that is wrong at once', () => {
  const environment = { MCLI_CLUSTER: 'c', MCLI_NODE_GPUS: 'many', MCLI_NODE_CONTAINER_ENV: '["x"]' };
  expect(() => readNodeConfig(environment)).toThrow(
    /MCLI_NODE: .*MCLI_NODE_GPUS: .*MCLI_NODE_CONTAINER_ENV: /s,
  );
  expect(() => readNodeConfig({ ...NAMED, MCLI_NODE_GPUS: '1' })).toThrow('MCLI_NODE_GPU_TYPE: is needed');
});

it('takes a mark for the disk that a disk can reach', () => {
  const mark = (percent: string) =>
    readNodeConfig({ ...NAMED, MCLI_NODE_DISK_HIGH_PERCENT: percent }).diskHighPercent;
  expect(mark('100')).toBe(100);
  expect(() => mark('0')).toThrow('MCLI_NODE_DISK_HIGH_PERCENT: must be from 1 to 100');
  expect(() => mark('101')).toThrow('must be from 1 to 100');
});

it('never takes the limit of memory away', () => {
  const memory = (megabytes: string) =>
    readNodeConfig({ ...NAMED, MCLI_NODE_CONTAINER_MEMORY_MB: megabytes }).containerMemoryBytes;
  expect(memory('1024')).toBe(1024 ** 3);
  expect(() => memory('0')).toThrow('MCLI_NODE_CONTAINER_MEMORY_MB: must be at least 256');
});
