/** How a node is, in its own words: details of its heartbeat. Sizes are bytes, times epoch milliseconds. */
import { count } from './phrases.ts';

export interface NodeHealth {
  readonly sampledAt: number;
  /** Of the file system where Docker keeps images and containers; absent where the agent can't see it. */
  readonly disk?: DiskHealth;
  /** Why Docker can't be used; absent when it answers. */
  readonly dockerError?: string;
  /** Why the agent can't write its node's lease; absent when it can. */
  readonly leaseError?: string;
  /** Absent on a node whose GPUs are declared, and on one that has none. */
  readonly gpus?: GpuHealth;
  /** Processes that run or want to, averaged over the last minute. */
  readonly load: number;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly memoryFreeBytes: number;
}

export interface DiskHealth {
  readonly usedPercent: number;
  readonly freeBytes: number;
  readonly totalBytes: number;
  /** Fuller than this, the agent removes images. */
  readonly highPercent: number;
}

export interface GpuHealth {
  /** What the node has told its cluster. */
  readonly offered: number;
  /** Absent when nvidia-smi fails. */
  readonly seen?: number;
  /** What nvidia-smi complains of, a sentence each. */
  readonly problems: readonly string[];
}

/** Details of the heartbeat of `serve-node`. */
export interface NodeHeartbeat {
  /** Epoch milliseconds, by the node's clock. */
  readonly sentAt: number;
  /** Absent until the first sample. */
  readonly health?: NodeHealth;
}

/** What an operator should look at, a sentence each; none when all is well. */
export function healthProblems({
  disk,
  dockerError,
  leaseError,
  gpus,
  memoryBytes,
  memoryFreeBytes,
}: NodeHealth): string[] {
  const problems: string[] = [];
  if (dockerError !== undefined)
    problems.push(`Docker can't be used: ${dockerError.replace(/\.?\s*$/, '')}.`);
  if (leaseError !== undefined) {
    problems.push(`Its lease can't be written (${leaseError}): what runs there will be ended.`);
  }
  if (disk && disk.usedPercent >= disk.highPercent) {
    problems.push(`Docker's disk is ${Math.floor(disk.usedPercent)} % full.`);
  }
  if (memoryFreeBytes < memoryBytes * LOW_MEMORY_SHARE) {
    problems.push(`Only ${Math.floor((100 * memoryFreeBytes) / memoryBytes)} % of the memory is free.`);
  }
  if (gpus?.seen !== undefined && gpus.seen < gpus.offered) {
    problems.push(`nvidia-smi sees ${gpus.seen} of ${count(gpus.offered, 'GPU')}.`);
  }
  return [...problems, ...(gpus?.problems ?? [])];
}

const LOW_MEMORY_SHARE = 0.03;
