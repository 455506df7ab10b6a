import { describe, expect, it } from 'vitest';
import type { CapacityRequest, ClusterSnapshot } from '../../core/cluster.ts';
import { emptyHistory } from '../../core/estimates.ts';
import { explain } from '../../core/explain.ts';
import type { Explanation } from '../../core/explain.ts';
import type { ComputeRequest, RunSpec } from '../../core/run-spec.ts';
import { decide } from '../../core/scheduler.ts';
import { aCluster, aLease, aNode, aRequest, aRun, HOUR_MS } from '../support/clusters.ts';

const NOW = 60_000;
const leases = [aLease(aRun('old', { gpus: 4, maxDurationMs: 2 * HOUR_MS }), 'n1')];
const full = [aLease(aRun('holder', { gpus: 8 }), 'n1')];
const head = aRun('head', { gpus: 8, priority: 'highest' });

interface Changes {
  readonly others?: readonly ClusterSnapshot[];
  readonly compute?: ComputeRequest;
}

/** Asks about the last run of the queue, which was submitted with what its request says and `compute`. */
function ask(
  snapshot: ClusterSnapshot,
  { others = [], compute = {} }: Changes = {},
): Explanation | undefined {
  const request = snapshot.queue.at(-1) ?? aRun('nobody');
  const planned = (snapshot: ClusterSnapshot) => ({ snapshot, history: emptyHistory() });
  return explain({
    run: request.run,
    spec: specOf(request, compute),
    home: planned(snapshot),
    others: others.map(planned),
    now: NOW,
  });
}

function specOf(
  { run, priority, preemptible, maxDurationMs }: CapacityRequest,
  compute: ComputeRequest,
): RunSpec {
  return {
    name: run,
    image: 'bash',
    command: 'true',
    compute,
    integrations: [],
    envVariables: {},
    parametersYaml: '{}',
    metadata: {},
    scheduling: {
      priority,
      preemptible,
      maxRetries: 0,
      retryOnSystemFailure: true,
      ...(maxDurationMs !== undefined && { maxDurationHours: maxDurationMs / HOUR_MS }),
    },
  };
}

const home = { cluster: 'r1z1', gpuType: 'a100' };

describe('explain', () => {
  it('says what blocks a run, who is ahead and who holds the GPUs', () => {
    const long = aRun('long', { gpus: 2, maxDurationMs: 90 * HOUR_MS, createdAt: 1 });
    const cpu = aRun('cpu', { gpus: 0, nodes: 9, priority: 'highest' });
    const later = aLease(aRun('later', { gpus: 1, maxDurationMs: 9 * HOUR_MS }), 'n1', 4);
    const told = ask(aCluster({ leases: [later, ...leases], queue: [cpu, head, long] }));
    expect(told).toMatchObject({
      position: 3,
      obstacle: { type: 'reserved', for: { run: 'head' } },
      ahead: [{ request: { run: 'head' }, position: 2, why: 'higher priority' }],
      holders: [
        { request: { run: 'old' }, expectedEnd: 2 * HOUR_MS },
        { request: { run: 'later' }, expectedEnd: 9 * HOUR_MS },
      ],
    });
  });

  const ahead = aRun('ahead', { gpus: 8 });
  const unlimited = aRequest('ahead', { gpus: 8 });
  it.each<[string, CapacityRequest, number]>([
    ['submitted 3 h earlier', { ...ahead, createdAt: -3 * HOUR_MS }, 1],
    ['submitted just before', { ...ahead, createdAt: -1_000 }, 1],
    ['due 30 h earlier: expected to take 60 min, this run 20 h', { ...ahead, createdAt: 10 }, 20],
    ['due 17 h earlier: runs without a max duration are due within a day', unlimited, 24],
  ])('says of a run ahead in the same class: %s', (why, other, mineHours) => {
    const mine = aRun('mine', { gpus: 8, maxDurationMs: mineHours * HOUR_MS });
    const told = ask(aCluster({ leases: full, queue: [other, mine] }));
    expect(told?.ahead).toEqual([{ request: other, position: 1, why }]);
  });
});

describe('what would start a run now', () => {
  it('is the longest limit that ends the run before the reservation in its way', () => {
    const long = aRun('long', { gpus: 2, maxDurationMs: 90 * HOUR_MS });
    const told = ask(aCluster({ leases, queue: [head, long] }));
    expect(told?.changes).toEqual([{ type: 'max-duration', hours: 1.95, givingWay: [] }]);
    const changed = { ...long, maxDurationMs: 1.95 * HOUR_MS };
    const { admissions } = decide(aCluster({ leases, queue: [head, changed] }), NOW, emptyHistory());
    expect(admissions.map(({ request }) => request.run)).toEqual(['long']);
  });

  it('is no limit for a run that has run before: its limit counts from its first start', () => {
    const long = aRun('long', { gpus: 2, maxDurationMs: 90 * HOUR_MS, resumption: 1 });
    expect(ask(aCluster({ leases, queue: [head, long] }))?.changes).toEqual([]);
  });

  it('is as many GPUs as are free', () => {
    expect(ask(aCluster({ leases, queue: [aRun('run', { gpus: 8 })] }))?.changes).toEqual([
      { type: 'gpus', compute: { ...home, gpus: 4 }, givingWay: [] },
    ]);
  });

  it('is fewer nodes for a gang, or else fewer GPUs on each', () => {
    const nodes = [aNode('n1'), aNode('n2')];
    const gang = aRun('gang', { gpus: 16, nodes: 2 });
    const also = aLease(aRun('also', { gpus: 2 }), 'n2');
    const gpus = (taken: typeof leases) => ask(aCluster({ nodes, leases: taken, queue: [gang] }))?.changes;
    expect(gpus(leases)).toMatchObject([{ type: 'gpus', compute: { gpus: 8, nodes: 1 } }]);
    expect(gpus([...leases, also])).toMatchObject([{ type: 'gpus', compute: { gpus: 8, nodes: 2 } }]);
  });

  it('is any node for a run that names its own, and any node of another cluster', () => {
    const nodes = [aNode('n1'), aNode('n2')];
    const pinned = aRun('pinned', { gpus: 8, nodeNames: ['n1'] });
    const other = aCluster({ cluster: 'other', nodes: [aNode('m1')] });
    const told = ask(aCluster({ nodes, leases, queue: [pinned] }), {
      others: [other],
      compute: { nodeNames: ['n1'] },
    });
    expect(told?.changes).toEqual([
      { type: 'any-node', compute: { ...home, gpus: 8, nodeNames: [] }, givingWay: [] },
      { type: 'gpus', compute: { ...home, gpus: 4 }, givingWay: [] },
      {
        type: 'cluster',
        compute: { cluster: 'other', gpuType: 'a100', gpus: 8, nodeNames: [] },
        givingWay: [],
      },
    ]);
  });

  it('is another type of GPU, or another cluster, with what is free there', () => {
    const nodes = [aNode('n1'), aNode('n2', { gpuType: 'h100' })];
    const other = aCluster({ cluster: 'other', nodes: [aNode('m1')] });
    const busy = aCluster({ cluster: 'busy', leases: full });
    const told = ask(aCluster({ nodes, leases: full, queue: [aRun('run', { gpus: 8 })] }), {
      others: [other, busy],
    });
    expect(told?.changes).toEqual([
      { type: 'gpu-type', compute: { cluster: 'r1z1', gpuType: 'h100', gpus: 8 }, givingWay: [] },
      { type: 'cluster', compute: { cluster: 'other', gpuType: 'a100', gpus: 8 }, givingWay: [] },
    ]);
  });

  it('is no clone that would be refused', () => {
    const small = aCluster({ cluster: 'small', nodes: [aNode('m1', { gpus: 4 }), aNode('m2', { gpus: 4 })] });
    const changes = (compute: ComputeRequest) =>
      ask(aCluster({ leases: full, queue: [aRun('run', { gpus: 8 })] }), { others: [small], compute })
        ?.changes;
    expect(changes({ nodes: 1 })).toEqual([]);
    expect(changes({})).toMatchObject([{ type: 'cluster', compute: { cluster: 'small', gpus: 8 } }]);
  });

  it('is the lowest priority that is enough, with the runs that would give way', () => {
    const held = aLease(aRun('holder', { gpus: 8, preemptible: true }), 'n1');
    expect(ask(aCluster({ leases: [held], queue: [aRun('run', { gpus: 8 })] }))?.changes).toEqual([
      { type: 'priority', priority: 'high', givingWay: ['holder'] },
    ]);
  });

  it('is nothing where no single change is enough', () => {
    expect(ask(aCluster({ leases: full, queue: [aRun('run', { gpus: 8 })] }))?.changes).toEqual([]);
  });

  it('is not asked about a run that does not wait', () => {
    expect(ask(aCluster({ queue: [head] }))).toBeUndefined();
    expect(ask(aCluster())).toBeUndefined();
  });
});
