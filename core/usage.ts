/** What one rank uses of its node: samples, and what they come to over the life of its command. */

export interface GpuSample {
  /** As the lease names it. */
  readonly gpu: number;
  readonly utilizationPercent: number;
  readonly memoryBytes: number;
  readonly memoryTotalBytes: number;
}

export interface UsageSample {
  /** Epoch milliseconds. */
  readonly at: number;
  /** 100 is one core. */
  readonly cpuPercent: number;
  /** Without what the kernel would give back at once, as `docker stats` counts. */
  readonly memoryBytes: number;
  readonly memoryLimitBytes: number;
  /** Empty where no GPU is attached. */
  readonly gpus: readonly GpuSample[];
}

export interface Measured {
  readonly last: number;
  readonly mean: number;
  readonly max: number;
}

export interface GpuUsage {
  readonly gpu: number;
  readonly utilizationPercent: Measured;
  readonly memoryBytes: Measured;
  readonly memoryTotalBytes: number;
}

export interface RankUsage {
  /** Of the last sample, epoch milliseconds. */
  readonly at: number;
  readonly samples: number;
  readonly cpuPercent: Measured;
  readonly memoryBytes: Measured;
  readonly memoryLimitBytes: number;
  readonly gpus: readonly GpuUsage[];
}

type Measure = (so: Measured | undefined, value: number) => Measured;

export function addSample(before: RankUsage | undefined, sample: UsageSample): RankUsage {
  const samples = (before?.samples ?? 0) + 1;
  const measure: Measure = (so, value) =>
    so === undefined
      ? { last: value, mean: value, max: value }
      : { last: value, mean: so.mean + (value - so.mean) / samples, max: Math.max(so.max, value) };
  return {
    at: sample.at,
    samples,
    cpuPercent: measure(before?.cpuPercent, sample.cpuPercent),
    memoryBytes: measure(before?.memoryBytes, sample.memoryBytes),
    memoryLimitBytes: sample.memoryLimitBytes,
    // A sample without GPUs, because nvidia-smi failed, leaves what is known of them.
    gpus:
      sample.gpus.length === 0
        ? (before?.gpus ?? [])
        : sample.gpus.map((gpu) => gpuUsage(gpu, before, measure)),
  };
}

function gpuUsage(sample: GpuSample, before: RankUsage | undefined, measure: Measure): GpuUsage {
  const known = before?.gpus.find(({ gpu }) => gpu === sample.gpu);
  return {
    gpu: sample.gpu,
    utilizationPercent: measure(known?.utilizationPercent, sample.utilizationPercent),
    memoryBytes: measure(known?.memoryBytes, sample.memoryBytes),
    memoryTotalBytes: sample.memoryTotalBytes,
  };
}
