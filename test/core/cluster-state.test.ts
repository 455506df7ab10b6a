import {
  assert,
  array,
  boolean,
  constantFrom,
  integer,
  nat,
  option,
  property,
  record,
  string,
} from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CapacityRequest, Lease } from '../../core/cluster.ts';
import { emptyCluster, packCluster, unpackCluster } from '../../core/cluster-state.ts';
import type { ClusterState } from '../../core/cluster-state.ts';
import { emptyHistory } from '../../core/estimates.ts';
import { PRIORITIES } from '../../core/priority.ts';
import { aRun } from '../support/clusters.ts';

const requests = record({
  run: string(),
  resumption: nat(),
  user: string(),
  name: constantFrom('llama', 'bert', ''),
  priority: constantFrom(...PRIORITIES),
  preemptible: boolean(),
  gpuType: option(constantFrom('a100_80gb', 'h100_80gb')),
  gpus: nat(64),
  nodes: integer({ min: 1, max: 8 }),
  gpusPerNode: nat(8),
  nodeNames: array(constantFrom('node-0', 'node-1')),
  createdAt: nat(),
  maxDurationMs: option(nat(), { nil: undefined }),
}).map(({ run, maxDurationMs, ...rest }): CapacityRequest => ({
  ...rest,
  run: `${rest.name}-${run}`,
  ...(maxDurationMs === undefined ? {} : { maxDurationMs }),
}));

const leases = record({
  request: requests,
  fence: nat(),
  ranks: array(record({ node: constantFrom('node-0', 'node-1'), gpuIds: array(nat(7)) })),
  grantedAt: nat(),
  revokedFor: option(string(), { nil: undefined }),
}).map(({ revokedFor, ...rest }): Lease => ({
  ...rest,
  ...(revokedFor === undefined ? {} : { revokedFor }),
}));

describe('the state of a cluster', () => {
  it('comes out of continue-as-new as it went in', () => {
    assert(
      property(array(requests), array(leases), (queue, held) => {
        const state = aState(queue, held);
        const travelled = JSON.parse(JSON.stringify(packCluster(state))) as ReturnType<typeof packCluster>;
        expect(unpackCluster(travelled)).toEqual(state);
      }),
    );
  });

  it('starts with fencing numbers above those of an earlier life', () => {
    expect(unpackCluster(emptyCluster('r1z1', 1_000))).toMatchObject({
      nextFence: 1_000,
      fresh: true,
      queue: [],
    });
  });

  it('stays below the limit of a payload with ten thousand runs in the queue', () => {
    const queue = Array.from({ length: 10_000 }, (_, index) =>
      aRun(`llama3-70b-instruct-${String(index).padStart(6, 'x')}`, {
        user: 'ann@example.org',
        name: 'llama3-70b-instruct',
        gpuType: 'a100_80gb',
        gpus: 16,
        nodes: 2,
        createdAt: 1_700_000_000_000 + index * 997,
        maxDurationMs: 86_400_000,
      }),
    );
    expect(JSON.stringify(packCluster(aState(queue, []))).length).toBeLessThan(1_000_000);
  });
});

function aState(queue: readonly CapacityRequest[], held: readonly Lease[]): ClusterState {
  return {
    cluster: 'r1z1',
    nodes: [],
    queue,
    leases: held,
    nextFence: 1_700_000_000_000,
    fresh: false,
    history: emptyHistory(),
  };
}
