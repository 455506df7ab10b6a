/** Builders of what clusters plan with: requests, leases and snapshots. */
import type {
  CapacityRequest,
  ClusterNode,
  ClusterSnapshot,
  Lease,
  RankPlacement,
} from '../../core/cluster.ts';

export const HOUR_MS = 3_600_000;

export function aNode(node: string, changes: Partial<ClusterNode> = {}): ClusterNode {
  return {
    node,
    gpuType: 'a100',
    gpus: 8,
    cpuSlots: 2,
    address: node,
    alive: true,
    cordoned: false,
    ...changes,
  };
}

/** A request of a run without a time limit; `gpus` is the total over its nodes, and 0 makes it a CPU run. */
export function aRequest(run: string, changes: Partial<CapacityRequest> = {}): CapacityRequest {
  const gpus = changes.gpus ?? 1;
  const nodes = changes.nodes ?? 1;
  return {
    run,
    resumption: 0,
    user: 'ann',
    name: run,
    priority: 'medium',
    preemptible: false,
    gpuType: gpus === 0 ? null : 'a100',
    gpus,
    nodes,
    gpusPerNode: gpus / nodes,
    nodeNames: [],
    createdAt: 0,
    ...changes,
  };
}

/** One that the scheduler knows to end, after an hour. */
export function aRun(run: string, changes: Partial<CapacityRequest> = {}): CapacityRequest {
  return aRequest(run, { maxDurationMs: HOUR_MS, ...changes });
}

let fence = 0;

/** A lease of `gpus` GPUs from the lowest id on, on one node. */
export function aLease(
  request: CapacityRequest,
  node: string,
  firstGpu = 0,
  changes: Partial<Lease> = {},
): Lease {
  const gpuIds = Array.from({ length: request.gpusPerNode }, (_, i) => firstGpu + i);
  const ranks: RankPlacement[] = [{ node, gpuIds }];
  return { request, fence: ++fence, ranks, grantedAt: request.createdAt, ...changes };
}

export function aCluster(changes: Partial<ClusterSnapshot> = {}): ClusterSnapshot {
  return { cluster: 'r1z1', nodes: [aNode('n1')], queue: [], leases: [], ...changes };
}
