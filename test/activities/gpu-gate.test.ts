import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { containerConfig } from '../../activities/container-config.ts';
import type { RankExecution } from '../../activities/contract.ts';
import { createGpuGate } from '../../activities/gpu-gate.ts';
import { containerName } from '../../core/naming.ts';
import { aRankToRun, docker, SETTINGS } from '../support/docker.ts';

const cluster = `test-${randomUUID()}`;

function aRankWith(gpuIds: readonly number[]): RankExecution {
  return aRankToRun('true', {}, { cluster, gpuIds });
}

async function running(rank: RankExecution): Promise<RankExecution> {
  const config = containerConfig(rank, SETTINGS, false);
  await docker.create({ ...config, Cmd: ['sleep', '600'] });
  await docker.start(containerName(rank));
  return rank;
}

function enter(rank: RankExecution, patienceMs: number): Promise<void> {
  const place = { controlPlane: SETTINGS.controlPlane, cluster, node: rank.node };
  return createGpuGate({ docker, place, patienceMs })(rank, new AbortController().signal);
}

describe('the GPUs of a node', () => {
  it('are waited for while another container holds one of them', async () => {
    const holder = await running(aRankWith([0, 1]));
    const next = aRankWith([1, 2]);
    await expect(enter(next, 0)).rejects.toThrow(`${containerName(holder)} still holds GPUs of ${next.node}`);
    const entered = enter(next, 60_000);
    await docker.kill(containerName(holder), 'SIGKILL');
    await entered;
  });

  it('are free for others, for the container itself, and for runs without any', async () => {
    const holder = await running(aRankWith([0, 1]));
    for (const rank of [aRankWith([2, 10]), holder, aRankWith([])]) await enter(rank, 0);
  });
});
