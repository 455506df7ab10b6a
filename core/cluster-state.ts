/** All that a cluster workflow knows, as plain JSON: it travels through continue-as-new. */
import type { ClusterSnapshot } from './cluster.ts';
import { emptyHistory } from './estimates.ts';
import type { RunTimeHistory } from './estimates.ts';

export interface ClusterState extends ClusterSnapshot {
  readonly nextFence: number;
  /** True until nodes and runs that may know an earlier life of this cluster have been asked. */
  readonly fresh: boolean;
  readonly history: RunTimeHistory;
}

/** `now` in epoch milliseconds: fencing numbers start there, and so above all that an earlier life has given out. */
export function emptyCluster(cluster: string, now: number): ClusterState {
  return { cluster, nodes: [], queue: [], leases: [], nextFence: now, fresh: true, history: emptyHistory() };
}
