/**
 * A cluster as the scheduler sees it: plain data that a workflow can carry through continue-as-new.
 * All times are epoch milliseconds, all durations milliseconds.
 */
import type { Priority } from './priority.ts';

/** What a node offers, as its agent reports it. */
export interface NodeInventory {
  readonly node: string;
  /** `null` on a machine without GPUs. */
  readonly gpuType: string | null;
  readonly gpus: number;
  /** How many `gpus: 0` runs the node takes at once, beside its GPU runs. */
  readonly cpuSlots: number;
  /** Where other nodes reach this one: MASTER_ADDR of a gang whose rank 0 runs here. */
  readonly address: string;
  /**
   * For how long the node may run containers without a word from the control plane: then it has stopped them itself,
   * in milliseconds. `null`: it never does, and its runs wait for it to come back. Absent: as `0`.
   */
  readonly leaseMs?: number | null;
}

export interface ClusterNode extends NodeInventory {
  /** False while its agent's heartbeat is missing. */
  readonly alive: boolean;
  /** True when no new runs are wanted here. */
  readonly cordoned: boolean;
  /** Why it was cordoned; absent when an operator gave no reason. */
  readonly cordonReason?: string;
  /** Failures in a row that speak against the node; the next one counts for leases from this fencing number on. */
  readonly incidents?: { readonly count: number; readonly nextFence: number };
}

/** One resumption of one run that waits for capacity. */
export interface CapacityRequest {
  readonly run: string;
  readonly resumption: number;
  readonly user: string;
  /** The submitted name, without suffix: runs of one name are expected to take equally long. */
  readonly name: string;
  readonly priority: Priority;
  readonly preemptible: boolean;
  readonly gpuType: string | null;
  readonly gpus: number;
  readonly nodes: number;
  readonly gpusPerNode: number;
  readonly nodeNames: readonly string[];
  /** When the run was submitted: a later resumption keeps its place. */
  readonly createdAt: number;
  /** What is left of `max_duration`; absent when the run has none. */
  readonly maxDurationMs?: number;
}

/** A rank's share of a lease; index in `Lease.ranks` is the rank. */
export interface RankPlacement {
  readonly node: string;
  /** Individual GPUs of the node; empty for a CPU run, which holds one CPU slot instead. */
  readonly gpuIds: readonly number[];
}

/** A run's right to GPUs. */
export interface Lease {
  readonly request: CapacityRequest;
  /** Grows with every grant of the cluster and never repeats: a later lease is recognised by a larger number. */
  readonly fence: number;
  readonly ranks: readonly RankPlacement[];
  readonly grantedAt: number;
  /** Set while the run gives way: its GPUs are on their way back, and more victims are not needed for them. */
  readonly revokedFor?: string;
}

export interface ClusterSnapshot {
  readonly cluster: string;
  readonly nodes: readonly ClusterNode[];
  readonly queue: readonly CapacityRequest[];
  readonly leases: readonly Lease[];
}

/** Identifies a request or a lease: requests are idempotent by it. */
export function resumptionKey(ref: { readonly run: string; readonly resumption: number }): string {
  return `${ref.run}/${ref.resumption}`;
}
