import { describe, expect, it } from 'vitest';
import type { CapacityRequest, ClusterNode, ClusterSnapshot, Lease } from '../../core/cluster.ts';
import { emptyHistory } from '../../core/estimates.ts';
import { remedies } from '../../core/remedies.ts';
import type { Remedy } from '../../core/remedies.ts';
import type { RunSpec } from '../../core/run-spec.ts';

const NOW = 1_800_000_000_000;
const HOUR_MS = 3_600_000;

const aNode = (node: string, gpus: number, gpuType = 'a100_80gb'): ClusterNode => ({
  node,
  gpuType,
  gpus,
  cpuSlots: 4,
  address: '127.0.0.1',
  alive: true,
  cordoned: false,
});

const aRequest = (run: string, gpus: number, rest: Partial<CapacityRequest> = {}): CapacityRequest => ({
  run,
  resumption: 0,
  user: run,
  name: run,
  priority: 'medium',
  preemptible: false,
  gpuType: 'a100_80gb',
  gpus,
  nodes: 1,
  gpusPerNode: gpus,
  nodeNames: [],
  createdAt: NOW - HOUR_MS,
  ...rest,
});

const aLease = (node: string, gpuIds: readonly number[], rest: Partial<CapacityRequest> = {}): Lease => ({
  request: aRequest('holder', gpuIds.length, rest),
  ranks: [{ node, gpuIds }],
  fence: 1,
  grantedAt: NOW,
});

const aCluster = (rest: Partial<ClusterSnapshot>): ClusterSnapshot => ({
  cluster: 'r1z1',
  nodes: [aNode('n0', 8)],
  queue: [],
  leases: [],
  ...rest,
});

const SPEC: RunSpec = {
  name: 'mine',
  image: 'bash',
  command: 'true',
  compute: {},
  integrations: [],
  envVariables: {},
  parametersYaml: '{}',
  metadata: {},
  scheduling: { priority: 'medium', preemptible: false, maxRetries: 0, retryOnSystemFailure: true },
};

function remediesFor(
  request: CapacityRequest,
  snapshot: ClusterSnapshot,
  others: readonly ClusterSnapshot[] = [],
): Remedy[] {
  const planned = (snapshot: ClusterSnapshot) => ({ snapshot, history: emptyHistory() });
  const home = planned({ ...snapshot, queue: [...snapshot.queue, request] });
  return remedies({ request, spec: SPEC, home, others: others.map(planned), now: NOW });
}

describe('what would start a run now', () => {
  it('is as many GPUs as are free', () => {
    const cluster = aCluster({ leases: [aLease('n0', [0, 1, 2])] });
    expect(remediesFor(aRequest('mine', 8), cluster)).toEqual([{ type: 'gpus', gpus: 5, givingWay: [] }]);
  });

  it('is a limit that ends the run before the reservation of the one ahead', () => {
    const cluster = aCluster({
      leases: [aLease('n0', [0, 1, 2, 3], { maxDurationMs: 5 * HOUR_MS })],
      queue: [aRequest('head', 8, { priority: 'high', createdAt: NOW - 2 * HOUR_MS })],
    });
    expect(remediesFor(aRequest('mine', 4), cluster)).toContainEqual({
      type: 'max-duration',
      hours: 4,
      givingWay: [],
    });
  });

  it('is another type of GPU, or another cluster, with what is free there', () => {
    const full = [aLease('n0', [0, 1, 2, 3, 4, 5, 6, 7])];
    const cluster = aCluster({ nodes: [aNode('n0', 8), aNode('n1', 8, 'h100_80gb')], leases: full });
    const other = aCluster({ cluster: 'r2z1', nodes: [aNode('m0', 8)] });
    const busy = aCluster({ cluster: 'r3z1', leases: full });
    expect(remediesFor(aRequest('mine', 8), cluster, [other, busy])).toEqual([
      { type: 'gpu-type', cluster: 'r1z1', gpuType: 'h100_80gb', givingWay: [] },
      { type: 'cluster', cluster: 'r2z1', gpuType: 'a100_80gb', givingWay: [] },
    ]);
  });

  it('is the lowest priority that is enough, with the runs that would give way', () => {
    const held = aLease('n0', [0, 1, 2, 3, 4, 5, 6, 7], { priority: 'medium', preemptible: true });
    expect(remediesFor(aRequest('mine', 8), aCluster({ leases: [held] }))).toEqual([
      { type: 'priority', priority: 'high', givingWay: ['holder'] },
    ]);
  });

  it('is nothing where no single change is enough', () => {
    const held = aLease('n0', [0, 1, 2, 3, 4, 5, 6, 7], { priority: 'highest' });
    expect(remediesFor(aRequest('mine', 8), aCluster({ leases: [held] }))).toEqual([]);
  });
});
