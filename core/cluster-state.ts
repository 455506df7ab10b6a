/** All that a cluster workflow knows, as plain JSON: it travels through continue-as-new. */
import type { ClusterSnapshot } from './cluster.ts';
import { emptyHistory } from './estimates.ts';
import type { RunTimeHistory } from './estimates.ts';

export interface ClusterState extends ClusterSnapshot {
  readonly nextFence: number;
  readonly history: RunTimeHistory;
}

export function emptyCluster(cluster: string): ClusterState {
  return { cluster, nodes: [], queue: [], leases: [], nextFence: 1, history: emptyHistory() };
}
