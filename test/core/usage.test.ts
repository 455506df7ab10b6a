import { expect, it } from 'vitest';
import { addSample } from '../../core/usage.ts';
import type { RankUsage, UsageSample } from '../../core/usage.ts';

const sample = (at: number, cpuPercent: number, gpuPercent?: number): UsageSample => ({
  at,
  cpuPercent,
  memoryBytes: cpuPercent * 10,
  memoryLimitBytes: 10_000,
  gpus:
    gpuPercent === undefined
      ? []
      : [{ gpu: 3, utilizationPercent: gpuPercent, memoryBytes: 5, memoryTotalBytes: 80 }],
});

it('keeps the last value, the mean and the maximum', () => {
  let usage: RankUsage | undefined;
  for (const [at, value] of [100, 400, 250].entries())
    usage = addSample(usage, sample(at, value, value / 10));
  expect(usage).toEqual({
    at: 2,
    samples: 3,
    cpuPercent: { last: 250, mean: 250, max: 400 },
    memoryBytes: { last: 2_500, mean: 2_500, max: 4_000 },
    memoryLimitBytes: 10_000,
    gpus: [
      {
        gpu: 3,
        utilizationPercent: { last: 25, mean: 25, max: 40 },
        memoryBytes: { last: 5, mean: 5, max: 5 },
        memoryTotalBytes: 80,
      },
    ],
  });
});

it('keeps what it knows of the GPUs while nvidia-smi fails', () => {
  const before = addSample(undefined, sample(0, 100, 50));
  expect(addSample(before, sample(1, 100)).gpus).toEqual(before.gpus);
});
