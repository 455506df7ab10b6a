import { describe, expect, it } from 'vitest';
import { createDocker } from '../../activities/docker.ts';
import type { Docker } from '../../activities/docker.ts';
import { createNodeHealth } from '../../activities/node-health.ts';
import { healthProblems } from '../../core/node-health.ts';
import type { NodeHealth } from '../../core/node-health.ts';
import { docker } from '../support/docker.ts';

const DISK = { usedPercent: 40, freeBytes: 60, totalBytes: 100, highPercent: 85 };

async function sampled(
  checked: Pick<Docker, 'check'>,
  gpus?: Parameters<typeof createNodeHealth>[0]['gpus'],
): Promise<NodeHealth> {
  const watch = createNodeHealth({
    docker: checked,
    disk: async () => DISK,
    leaseError: () => undefined,
    ...(gpus && { gpus }),
  });
  expect(watch.health()).toBeUndefined();
  const closing = new AbortController();
  const ended = watch.watch(closing.signal);
  await expect.poll(() => watch.health()).toBeDefined();
  closing.abort();
  await ended;
  return watch.health() as NodeHealth;
}

describe('a sample', () => {
  it('of a node that is well', async () => {
    const gpus = {
      offered: 1,
      monitor: { usage: async () => [], health: async () => ({ seen: 1, problems: [] }) },
    };
    const health = await sampled(docker, gpus);
    expect(health).toMatchObject({ disk: DISK, gpus: { offered: 1, seen: 1, problems: [] } });
    expect(health.memoryFreeBytes).toBeGreaterThan(0);
    expect(health.memoryFreeBytes).toBeLessThan(health.memoryBytes);
    expect(health.cpus).toBeGreaterThan(0);
    expect(Date.now() - health.sampledAt).toBeLessThan(10_000);
    expect(healthProblems(health)).toEqual([]);
  });

  it('of a node without Docker says why', async () => {
    const health = await sampled(createDocker('unix:///nowhere/docker.sock'));
    expect(health.dockerError).toContain('/nowhere/docker.sock');
    expect(healthProblems(health)).toEqual([`Docker can't be used: ${health.dockerError}.`]);
  });
});

it('says what an operator should look at', () => {
  expect(
    healthProblems({
      sampledAt: 0,
      leaseError: 'EROFS: read-only file system',
      disk: { ...DISK, usedPercent: 91.7 },
      gpus: { offered: 8, seen: 7, problems: ['GPU 3: it smokes.'] },
      load: 400,
      cpus: 2,
      memoryBytes: 1_000,
      memoryFreeBytes: 29,
    }),
  ).toEqual([
    "Its lease can't be written (EROFS: read-only file system): what runs there will be ended.",
    "Docker's disk is 91 % full.",
    'Only 2 % of the memory is free.',
    'nvidia-smi sees 7 of 8 GPUs.',
    'GPU 3: it smokes.',
  ]);
});
