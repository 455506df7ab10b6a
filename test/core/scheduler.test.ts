import { describe, expect, it } from 'vitest';
import type { ClusterSnapshot } from '../../core/cluster.ts';
import { emptyHistory, learn } from '../../core/estimates.ts';
import { plan } from '../../core/scheduler.ts';
import type { Decision } from '../../core/scheduler.ts';
import { aCluster, aLease, aNode, aRun, HOUR_MS } from '../support/clusters.ts';

const MINUTE_MS = 60_000;

function decide(cluster: Partial<ClusterSnapshot>, now = MINUTE_MS, history = emptyHistory()) {
  const decisions = plan(aCluster(cluster), now, history);
  return {
    decisions,
    started: decisions.flatMap((d) => (d.type === 'ADMIT' ? [d.request.run] : [])).sort(),
    preempted: decisions.flatMap((d) => (d.type === 'PREEMPT' ? [d.run] : [])).sort(),
    places: (run: string) => placesOf(decisions, run),
    reason: (run: string) => waitOf(decisions, run)?.reason,
    wait: (run: string) => waitOf(decisions, run),
  };
}

function placesOf(decisions: readonly Decision[], run: string) {
  return decisions
    .flatMap((d) => (d.type === 'ADMIT' && d.request.run === run ? d.ranks : []))
    .map(({ node, gpuIds }) => `${node}:${gpuIds.join(',')}`);
}

function waitOf(decisions: readonly Decision[], run: string) {
  return decisions.find((d) => d.type === 'WAIT' && d.run === run) as
    Extract<Decision, { type: 'WAIT' }> | undefined;
}

describe('placement', () => {
  it('fills the fullest node that still has room, so that large holes stay whole', () => {
    const { places } = decide({
      nodes: [aNode('n1'), aNode('n2')],
      leases: [aLease(aRun('old', { gpus: 5 }), 'n2')],
      queue: [aRun('small', { gpus: 2 })],
    });
    expect(places('small')).toEqual(['n2:5,6']);
  });

  it('names the lowest GPUs that are free', () => {
    const { places } = decide({
      leases: [aLease(aRun('a', { gpus: 1 }), 'n1', 1), aLease(aRun('b', { gpus: 2 }), 'n1', 3)],
      queue: [aRun('new', { gpus: 4 })],
    });
    expect(places('new')).toEqual(['n1:0,2,5,6']);
  });

  it('places a gang on as many nodes as it asks for, or not at all', () => {
    const nodes = [aNode('n1'), aNode('n2'), aNode('n3')];
    const gang = aRun('gang', { gpus: 16, nodes: 2 });
    expect(decide({ nodes, queue: [gang] }).places('gang')).toHaveLength(2);
    const leases = [aLease(aRun('a'), 'n1'), aLease(aRun('b'), 'n2')];
    expect(decide({ nodes, leases, queue: [gang] }).started).toEqual([]);
  });

  it.each([
    ['another GPU type', aNode('n1', { gpuType: 'h100' })],
    ['a cordoned node', aNode('n1', { cordoned: true })],
    ['a node whose agent is lost', aNode('n1', { alive: false })],
    ['a node that the run did not name', aNode('n9')],
  ])('does not use %s', (_, node) => {
    const { started, reason } = decide({ nodes: [node], queue: [aRun('run', { nodeNames: ['n1'] })] });
    expect(started).toEqual([]);
    expect(reason('run')).toMatch(/^Waiting for 1 GPU: no node in service offers/);
  });

  it('gives CPU runs slots beside the GPUs, one on each node', () => {
    const queue = ['a', 'b', 'c'].map((run) => aRun(run, { gpus: 0 }));
    const { started, reason } = decide({ leases: [aLease(aRun('gpus', { gpus: 8 }), 'n1')], queue });
    expect(started).toEqual(['a', 'b']);
    expect(reason('c')).toMatch(/^Waiting for 1 CPU slot: 0 free on r1z1/);
  });

  it('lets a run that can never fit block nobody', () => {
    const { started } = decide({
      queue: [aRun('giant', { gpus: 64, priority: 'highest' }), aRun('small', { priority: 'lowest' })],
    });
    expect(started).toEqual(['small']);
  });
});

describe('order', () => {
  it('starts higher classes first, then the run that is due first', () => {
    const leases = [aLease(aRun('old', { gpus: 6 }), 'n1')];
    const queue = [
      aRun('low', { priority: 'low', gpus: 2 }),
      aRun('high', { priority: 'high', gpus: 2, createdAt: 5 }),
    ];
    expect(decide({ leases, queue }).started).toEqual(['high']);
  });

  it('lets a short run pass a long one of its class, but not one that is much older', () => {
    const leases = [aLease(aRun('old', { gpus: 7 }), 'n1')];
    const long = aRun('long', { maxDurationMs: 100 * HOUR_MS });
    const short = (createdAt: number) => aRun('short', { maxDurationMs: HOUR_MS, createdAt });
    expect(decide({ leases, queue: [long, short(HOUR_MS)] }, HOUR_MS).started).toEqual(['short']);
    const week = 7 * 24 * HOUR_MS;
    expect(decide({ leases, queue: [long, short(week)] }, week).started).toEqual(['long']);
  });

  it('never starts a lower class ahead of a higher one that asks for the same', () => {
    // The high run must leave the head its reservation; the low one would be short enough to fit in.
    const { started, reason } = decide({
      leases: [aLease(aRun('old', { gpus: 4, maxDurationMs: 2 * HOUR_MS }), 'n1')],
      queue: [
        aRun('head', { gpus: 8, priority: 'highest' }),
        aRun('high', { gpus: 2, priority: 'high', maxDurationMs: 9 * HOUR_MS }),
        aRun('low', { gpus: 2, priority: 'low', maxDurationMs: HOUR_MS }),
        aRun('tiny', { gpus: 1, priority: 'low', maxDurationMs: HOUR_MS }),
      ],
    });
    expect(started).toEqual(['tiny']);
    expect(reason('low')).toContain('high (high) has higher priority, asks for no more and goes first');
    expect(reason('high')).toContain('kept for head (highest)');
  });
});

describe('reservation', () => {
  const head = aRun('head', { gpus: 8 });
  const leases = [aLease(aRun('old', { gpus: 4, maxDurationMs: 2 * HOUR_MS }), 'n1')];

  it('lets a run pass that is over before the head can start', () => {
    const short = aRun('short', { gpus: 2, maxDurationMs: HOUR_MS, createdAt: 1 });
    expect(decide({ leases, queue: [head, short] }).started).toEqual(['short']);
  });

  it('holds a run back that would delay the head, and says for whom', () => {
    const long = aRun('long', { gpus: 2, maxDurationMs: 90 * HOUR_MS });
    const { started, reason } = decide({ leases, queue: [head, long] });
    expect(started).toEqual([]);
    expect(reason('long')).toBe(
      'Waiting for 2 GPUs: 4 free on r1z1, kept for head (medium), which is ahead and expected to start in about 2 h',
    );
  });

  it('lets a long run use what the head will not need', () => {
    const nodes = [aNode('n1'), aNode('n2', { gpus: 2 })];
    const long = aRun('long', { gpus: 2, maxDurationMs: 90 * HOUR_MS });
    expect(decide({ nodes, leases, queue: [head, long] }).places('long')).toEqual(['n2:0,1']);
  });

  it('plans around a run that has outlived its limit', () => {
    const overdue = [aLease(aRun('old', { gpus: 4, maxDurationMs: HOUR_MS }), 'n1')];
    const short = aRun('short', { gpus: 2, maxDurationMs: MINUTE_MS, createdAt: 1 });
    const now = 3 * HOUR_MS;
    expect(decide({ leases: overdue, queue: [head, short] }, now).started).toEqual(['short']);
  });
});

describe('run times', () => {
  it('takes runs of the same user, name and size to last as long as before', () => {
    const history = emptyHistory();
    for (const [name, hours] of [
      ['quick', 1],
      ['slow', 50],
    ] as const) {
      learn(history, { user: 'ann', name, gpus: 2 }, hours * HOUR_MS);
    }
    const leases = [aLease(aRun('old', { gpus: 6 }), 'n1')];
    const { maxDurationMs: _, ...unlimited } = aRun('x', { gpus: 2 });
    const queue = [
      { ...unlimited, run: 'a', name: 'slow' },
      { ...unlimited, run: 'b', name: 'quick', createdAt: 1 },
    ];
    expect(decide({ leases, queue }, MINUTE_MS, history).started).toEqual(['b']);
  });
});

describe('reservation without limits', () => {
  const { maxDurationMs: _, ...unlimited } = aRun('x');
  const history = emptyHistory();
  learn(history, { user: 'ann', name: 'x', gpus: 1 }, MINUTE_MS);
  const head = { ...unlimited, run: 'head', gpus: 8, gpusPerNode: 8, name: 'x' };
  const small = (run: string, createdAt: number) => ({ ...unlimited, run, createdAt });
  const leasesOf = (createdAt: number) =>
    [0, 1, 2, 3, 4, 5, 6].map((gpu) => aLease(small(`old${gpu}`, createdAt), 'n1', gpu));

  it('lets others pass while the head has only been passed by its neighbours in the queue', () => {
    const now = 30_000;
    const { started } = decide({ leases: leasesOf(1), queue: [head, small('next', 2)] }, now, history);
    expect(started).toEqual(['next']);
  });

  it('keeps capacity once the head has been passed by runs that came much later', () => {
    const later = 10 * MINUTE_MS;
    const now = later + 30_000;
    const { started } = decide(
      { leases: leasesOf(later), queue: [head, small('next', later)] },
      now,
      history,
    );
    expect(started).toEqual([]);
  });
});

describe('preemption', () => {
  it('asks nobody for the sake of a run that the head would be kept from by', () => {
    const { maxDurationMs: _, ...unlimited } = aRun('x');
    const nodes = [aNode('n1'), aNode('n2')];
    const low = { ...unlimited, priority: 'low', preemptible: true, gpus: 2, gpusPerNode: 2 } as const;
    const leases = [
      aLease({ ...unlimited, run: 'firm', gpus: 8, gpusPerNode: 8 }, 'n1'),
      aLease({ ...low, run: 'victim' }, 'n2'),
    ];
    const high = { ...unlimited, priority: 'high', gpus: 8 } as const;
    const head = { ...high, run: 'head', nodes: 2, gpusPerNode: 4, createdAt: 1 };
    const next = { ...high, run: 'next', gpusPerNode: 8, createdAt: 2 };
    const { preempted, started } = decide({ nodes, leases, queue: [head, next] });
    expect(decide({ nodes, leases: leases.slice(0, 1), queue: [head, next] }).started).toEqual([]);
    expect({ preempted, started }).toEqual({ preempted: [], started: [] });
  });

  const victim = (run: string, gpus: number, grantedAt: number, firstGpu: number) =>
    aLease(aRun(run, { gpus, preemptible: true, priority: 'low' }), 'n1', firstGpu, { grantedAt });
  const high = aRun('high', { gpus: 4, priority: 'high' });

  it('asks the youngest of as few as suffice', () => {
    const leases = [victim('a', 4, 1, 0), victim('b', 2, 30, 4), victim('c', 2, 20, 6)];
    const { preempted, reason } = decide({ leases, queue: [high] });
    expect(preempted).toEqual(['a']);
    expect(reason('high')).toContain('preemptible runs of lower priority are giving way: a');
    const two = aRun('high', { gpus: 2, priority: 'high' });
    expect(decide({ leases, queue: [two] }).preempted).toEqual(['b']);
  });

  it('asks nobody when it would not suffice', () => {
    const leases = [victim('a', 2, 1, 0), aLease(aRun('firm', { gpus: 6, priority: 'low' }), 'n1', 2)];
    expect(decide({ leases, queue: [high] }).preempted).toEqual([]);
  });

  it('asks nobody of its own class or above', () => {
    const leases = [aLease(aRun('peer', { gpus: 8, preemptible: true, priority: 'high' }), 'n1')];
    expect(decide({ leases, queue: [high] }).preempted).toEqual([]);
  });

  it('asks nobody twice while the first are still leaving, and keeps their GPUs for the one they left for', () => {
    const leaving = { ...victim('a', 4, 1, 0), revokedFor: 'high' };
    const leases = [leaving, victim('b', 2, 30, 4)];
    const other = aRun('other', { gpus: 2, priority: 'low', maxDurationMs: HOUR_MS });
    const { preempted, started } = decide({
      leases,
      queue: [aRun('high', { gpus: 6, priority: 'high' }), other],
    });
    expect(preempted).toEqual([]);
    expect(started).toEqual([]);
  });

  it('lets nobody in, however short, who would have to leave for the same run again', () => {
    const history = emptyHistory();
    learn(history, { user: 'ann', name: 'short', gpus: 2 }, 5_000);
    const leases = [{ ...victim('a', 4, 1, 0), revokedFor: 'high' }, victim('b', 2, 30, 4)];
    const short = aRun('short-1', { name: 'short', gpus: 2, priority: 'low', preemptible: true });
    const queue = [aRun('high', { gpus: 6, priority: 'high' }), short];
    expect(decide({ leases, queue }, MINUTE_MS, history).started).toEqual([]);
  });

  it('makes room for a gang with the fewest runs', () => {
    const nodes = [aNode('n1'), aNode('n2'), aNode('n3')];
    const low = { gpus: 8, preemptible: true, priority: 'low' } as const;
    const leases = [
      aLease(aRun('a', low), 'n1', 0, { grantedAt: 1 }),
      aLease(aRun('b', low), 'n2', 0, { grantedAt: 2 }),
      aLease(aRun('c', { ...low, gpus: 4 }), 'n3', 0, { grantedAt: 3 }),
      aLease(aRun('d', { ...low, gpus: 4 }), 'n3', 4, { grantedAt: 4 }),
    ];
    const gang = aRun('gang', { gpus: 16, nodes: 2, priority: 'high' });
    expect(decide({ nodes, leases, queue: [gang] }).preempted).toEqual(['a', 'b']);
  });
});

describe('what waiting runs are told', () => {
  it('counts what is free, what is held, and when enough comes back', () => {
    const leases = [
      aLease(aRun('a', { gpus: 4, maxDurationMs: 41 * MINUTE_MS }), 'n1'),
      aLease(aRun('b', { gpus: 8, priority: 'high' }), 'n2'),
    ];
    const nodes = [aNode('n1'), aNode('n2')];
    const { wait } = decide({ nodes, leases, queue: [aRun('run', { gpus: 8 })] });
    expect(wait('run')).toMatchObject({
      position: 1,
      reason:
        'Waiting for 8 GPUs: 4 free on r1z1; 12 held by runs of equal or higher priority, ' +
        'the next 4 expected free in about 40 min',
    });
  });

  it('promises nothing to a run whose named node is taken while another is free', () => {
    const nodes = [aNode('n1'), aNode('n2')];
    const leases = [aLease(aRun('old', { gpus: 8 }), 'n1')];
    const picky = aRun('picky', { gpus: 4, nodeNames: ['n1'] });
    const [told] = plan(aCluster({ nodes, leases, queue: [picky] }), 0, emptyHistory());
    expect(told).toMatchObject({ type: 'WAIT', reason: expect.stringContaining('it asks for n1') as string });
    expect(told).not.toHaveProperty('expectedStart');
  });

  it('gives each a position and a band for its start', () => {
    const leases = [aLease(aRun('a', { gpus: 8, maxDurationMs: HOUR_MS }), 'n1')];
    const queue = ['x', 'y'].map((run) => aRun(run, { gpus: 8, maxDurationMs: HOUR_MS }));
    const { wait } = decide({ leases, queue }, 0);
    expect(wait('x')).toMatchObject({ position: 1, expectedStart: { to: HOUR_MS } });
    expect(wait('y')).toMatchObject({ position: 2, expectedStart: { to: 2 * HOUR_MS } });
  });
});
