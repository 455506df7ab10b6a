import { describe, expect, test } from 'vitest';
import { settingsKey } from '../../stack/config.ts';
import { applyChanges, environmentSettings } from '../../stack/settings.ts';

const TOOLS = { temporal: '/bin/temporal', natsServer: '/bin/nats-server' };

describe('settings of the local stack', () => {
  test('a first start is one node of cluster r1z1 with whatever GPUs it has', () => {
    expect(applyChanges(undefined, {})).toEqual({ cluster: 'r1z1', nodes: 1, containerEnv: {} });
  });

  test('what is not mentioned stays as it was', () => {
    const first = applyChanges(undefined, { gpus: 8, gpuType: 'a100_80gb', cpuSlots: 2 });
    expect(applyChanges(first, { nodes: 2 })).toMatchObject({
      nodes: 2,
      gpus: 8,
      gpuType: 'a100_80gb',
      cpuSlots: 2,
    });
  });

  test('--gpus auto takes declared GPUs back, type and all', () => {
    const declared = applyChanges(undefined, { gpus: 8, gpuType: 'a100_80gb' });
    expect(applyChanges(declared, { gpus: 'auto' })).toEqual({ cluster: 'r1z1', nodes: 1, containerEnv: {} });
  });

  test.each([
    [{ gpus: 8 }, /without their type/],
    [{ gpuType: 'a100_80gb' }, /without a number/],
    [{ nodes: 0 }, /0 nodes is not possible/],
    [{ nodes: 100 }, /100 nodes is not possible/],
  ])('%j is refused', (changes, message) => {
    expect(() => applyChanges(undefined, changes)).toThrow(message);
  });

  test('containers get proxies, package index and certificates of the machine, and nothing else', () => {
    const env = {
      HTTPS_PROXY: 'http://proxy:3128',
      PIP_INDEX_URL: 'https://mirror/simple',
      SSL_CERT_FILE: '/etc/ssl/ca.pem',
      AWS_SECRET_ACCESS_KEY: 'private',
    };
    expect(environmentSettings(env)).toEqual({
      containerEnv: { HTTPS_PROXY: 'http://proxy:3128', PIP_INDEX_URL: 'https://mirror/simple' },
      caBundle: '/etc/ssl/ca.pem',
    });
  });

  test('a supervisor is replaced for other settings, not for the same in another order', () => {
    const settings = { cluster: 'r1z1', nodes: 1, containerEnv: {} };
    const turned = { containerEnv: {}, nodes: 1, cluster: 'r1z1' };
    expect(settingsKey({ settings, tools: TOOLS })).toBe(settingsKey({ settings: turned, tools: TOOLS }));
    expect(settingsKey({ settings, tools: TOOLS })).not.toBe(
      settingsKey({ settings: { ...settings, nodes: 2 }, tools: TOOLS }),
    );
  });
});
