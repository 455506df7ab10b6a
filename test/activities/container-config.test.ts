import { beforeAll, describe, expect, it } from 'vitest';
import { commandFiles, containerConfig } from '../../activities/container-config.ts';
import { RUN_CONFIG_PATH } from '../../core/naming.ts';
import { aRank, SETTINGS } from '../support/docker.ts';
import { installPyYaml, loadYaml } from '../support/pyyaml.ts';

const GIBIBYTE = 1024 ** 3;

interface Node {
  readonly gpus: number;
  readonly cpuSlots: number;
  readonly memoryGib: number;
}

function limits(gpuIds: readonly number[], { gpus, cpuSlots, memoryGib }: Node) {
  const { HostConfig: host = {} } = containerConfig(
    { ...aRank('true'), gpuIds },
    {
      ...SETTINGS,
      attachGpus: true,
      memoryBytes: memoryGib * GIBIBYTE,
      inventory: { ...SETTINGS.inventory, gpus, cpuSlots },
    },
    true,
  );
  const { Memory = 0, ShmSize = 0, CpuShares, OomScoreAdj, DeviceRequests } = host;
  return {
    memoryGib: Memory / GIBIBYTE,
    shmGib: ShmSize / GIBIBYTE,
    cpuShares: CpuShares,
    endedFirst: OomScoreAdj,
    gpus: DeviceRequests?.flatMap(({ DeviceIDs = [] }) => DeviceIDs),
  };
}

describe('the share of a container', () => {
  const dgx = { gpus: 8, cpuSlots: 64, memoryGib: 800 };

  it('is that of its GPUs, which are attached one by one', () => {
    expect(limits([2, 5], dgx)).toEqual({
      memoryGib: 200,
      shmGib: 100,
      cpuShares: 256,
      endedFirst: 300,
      gpus: ['2', '5'],
    });
    expect(limits([0, 1, 2, 3, 4, 5, 6, 7], dgx)).toMatchObject({ memoryGib: 800, cpuShares: 1024 });
  });

  it('is a slot without GPUs, which yields to those with them', () => {
    expect(limits([], dgx)).toEqual({
      memoryGib: 12.5,
      shmGib: 6.25,
      cpuShares: 16,
      endedFirst: 700,
      gpus: undefined,
    });
    expect(limits([], { gpus: 0, cpuSlots: 2, memoryGib: 22 })).toMatchObject({ memoryGib: 11 });
  });

  it('is of use on a small machine with many slots, and never more than the machine', () => {
    expect(limits([], { gpus: 0, cpuSlots: 16, memoryGib: 15 })).toMatchObject({ memoryGib: 4 });
    expect(limits([], { gpus: 0, cpuSlots: 16, memoryGib: 3 })).toMatchObject({ memoryGib: 3 });
    expect(limits([3], { gpus: 0, cpuSlots: 1, memoryGib: 64 })).toMatchObject({ memoryGib: 64 });
  });
});

describe('run_config.yaml', () => {
  beforeAll(installPyYaml);

  it('has the run as it was understood, for the programs of Python', async () => {
    const rank = aRank('echo one\necho two', {
      envVariables: { ON: 'on', RATE: '1e-4', ID: '012' },
      metadata: { snakeNot: { a: 1e-7 }, date: '2020-01-01' },
      parametersYaml: 'lr: 1e-4\nwarm: on\n',
      parentName: 'no',
    });
    const file = commandFiles(rank, SETTINGS).find(({ path }) => path === RUN_CONFIG_PATH);
    const [config] = await loadYaml([file?.content ?? '']);
    expect(config).toMatchObject({
      command: 'echo one\necho two',
      env_variables: { ON: 'on', RATE: '1e-4', ID: '012' },
      metadata: { snakeNot: { a: 1e-7 }, date: '2020-01-01' },
      parameters: { lr: '1e-4', warm: true },
      parent_name: 'no',
      scheduling: { max_retries: 0 },
    });
  });
});

describe('the GPUs that a container sees', () => {
  const visible = (gpuIds: readonly number[], attachGpus: boolean) => {
    const envVariables = { NVIDIA_VISIBLE_DEVICES: 'all' };
    const settings = { ...SETTINGS, attachGpus, containerEnv: envVariables };
    const { Env = [] } = containerConfig({ ...aRank('true', { envVariables }), gpuIds }, settings, true);
    return Env.filter((variable) => variable.startsWith('NVIDIA_VISIBLE_DEVICES='));
  };

  it('are those that are attached, or none, whatever the run and the node would like', () => {
    expect(visible([], true)).toEqual(['NVIDIA_VISIBLE_DEVICES=void']);
    expect(visible([0], false)).toEqual(['NVIDIA_VISIBLE_DEVICES=void']);
    // Docker sets it with what it attaches.
    expect(visible([0], true)).toEqual([]);
  });
});
