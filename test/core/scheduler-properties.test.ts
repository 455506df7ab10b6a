import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { resumptionKey } from '../../core/cluster.ts';
import type { CapacityRequest, ClusterNode, ClusterSnapshot, Lease } from '../../core/cluster.ts';
import { emptyHistory, learn } from '../../core/estimates.ts';
import type { RunTimeHistory } from '../../core/estimates.ts';
import { fits } from '../../core/fits.ts';
import { POLICIES } from '../../core/policy.ts';
import { PRIORITIES, priorityRank } from '../../core/priority.ts';
import { plan } from '../../core/scheduler.ts';
import type { Decision } from '../../core/scheduler.ts';
import { aNode, aRequest, HOUR_MS } from '../support/clusters.ts';

const NOW = 100 * HOUR_MS;

const nodesOf = fc
  .array(
    fc.record({
      gpus: fc.constantFrom(0, 1, 2, 4, 8),
      gpuType: fc.constantFrom('a100', 'a100', 'h100'),
      cpuSlots: fc.nat(2),
      alive: fc.constantFrom(true, true, true, false),
      cordoned: fc.constantFrom(false, false, false, true),
    }),
    { minLength: 1, maxLength: 6 },
  )
  .map((nodes): ClusterNode[] => nodes.map((node, i) => aNode(`n${i}`, node)));

const requestOf = fc
  .record({
    user: fc.constantFrom('ann', 'bob'),
    name: fc.constantFrom('train', 'eval'),
    priority: fc.constantFrom(...PRIORITIES),
    preemptible: fc.boolean(),
    gpuType: fc.constantFrom('a100', 'a100', 'h100'),
    nodes: fc.constantFrom(1, 1, 1, 2, 3),
    gpusPerNode: fc.constantFrom(0, 1, 2, 4, 8),
    nodeNames: fc.constantFrom([], [], [], ['n0'], ['n0', 'n1', 'n2']),
    createdAt: fc.integer({ min: 0, max: NOW }),
    maxDurationMs: fc.option(fc.integer({ min: 1, max: 60 * HOUR_MS }), { nil: undefined }),
  })
  .map(({ maxDurationMs, gpusPerNode, gpuType, nodes, ...rest }): Omit<CapacityRequest, 'run'> => {
    const { run: _, ...base } = aRequest('x');
    return {
      ...base,
      ...rest,
      nodes,
      gpusPerNode,
      gpus: nodes * gpusPerNode,
      gpuType: gpusPerNode === 0 ? null : gpuType,
      ...(maxDurationMs !== undefined && { maxDurationMs }),
    };
  });

/** A cluster in the middle of its life: what runs was started by the planner itself, some of it a while ago. */
const snapshotOf = fc
  .record({
    nodes: nodesOf,
    first: fc.array(requestOf, { maxLength: 12 }),
    second: fc.array(requestOf, { maxLength: 12 }),
    leaving: fc.nat(3),
  })
  .map(({ nodes, first, second, leaving }): ClusterSnapshot => {
    const early = first.map((request, i) => ({ ...request, run: `early${i}` }));
    const started = apply({ cluster: 'c', nodes, queue: early, leases: [] }, NOW / 2);
    const leases = started.leases.map((lease, i) =>
      i < leaving && lease.request.preemptible ? { ...lease, revokedFor: 'somebody' } : lease,
    );
    const late = second.map((request, i) => ({ ...request, run: `late${i}` }));
    return { cluster: 'c', nodes, queue: [...started.queue, ...late], leases };
  });

const historyOf = fc
  .array(
    fc.record({
      user: fc.constantFrom('ann', 'bob'),
      name: fc.constantFrom('train', 'eval'),
      gpus: fc.constantFrom(0, 1, 8),
      ranMs: fc.nat(50 * HOUR_MS),
    }),
    { maxLength: 10 },
  )
  .map((runs) => {
    const history = emptyHistory();
    for (const { ranMs, ...run } of runs) learn(history, run, ranMs);
    return history;
  });

/** The snapshot after the plan's admissions, as the cluster workflow would hold it. */
function apply(snapshot: ClusterSnapshot, now: number, history: RunTimeHistory = emptyHistory()) {
  const admitted = plan(snapshot, now, history).flatMap((d) => (d.type === 'ADMIT' ? [d] : []));
  const started = new Set(admitted.map(({ request }) => resumptionKey(request)));
  const fence = Math.max(0, ...snapshot.leases.map((lease) => lease.fence));
  return {
    ...snapshot,
    queue: snapshot.queue.filter((request) => !started.has(resumptionKey(request))),
    leases: [
      ...snapshot.leases,
      ...admitted.map(({ request, ranks }, i): Lease => ({
        request,
        ranks,
        fence: fence + i + 1,
        grantedAt: now,
      })),
    ],
  };
}

const check = (property: (snapshot: ClusterSnapshot, history: RunTimeHistory) => void): void =>
  fc.assert(fc.property(snapshotOf, historyOf, property), { numRuns: 300 });

describe('every plan', () => {
  it('leases no GPU twice, none that a node does not have, and no more CPU slots than there are', () => {
    check((snapshot, history) => {
      const { leases, nodes } = apply(snapshot, NOW, history);
      for (const { node, gpus, cpuSlots } of nodes) {
        const here = leases.flatMap(({ ranks }) => ranks.filter((rank) => rank.node === node));
        const ids = here.flatMap(({ gpuIds }) => gpuIds);
        expect(new Set(ids).size).toBe(ids.length);
        expect(ids.every((id) => id >= 0 && id < gpus)).toBe(true);
        expect(here.filter(({ gpuIds }) => gpuIds.length === 0).length).toBeLessThanOrEqual(cpuSlots);
      }
    });
  });

  it('decides once about every queued run, and about no other', () => {
    check((snapshot, history) => {
      const decided = plan(snapshot, NOW, history)
        .flatMap((d) => (d.type === 'PREEMPT' ? [] : [d.type === 'ADMIT' ? d.request.run : d.run]))
        .sort();
      expect(decided).toEqual(snapshot.queue.map(({ run }) => run).sort());
    });
  });

  it('starts gangs whole, each rank on a node of its own that takes new runs and that the run may use', () => {
    check((snapshot, history) => {
      for (const decision of plan(snapshot, NOW, history)) {
        if (decision.type !== 'ADMIT') continue;
        const { request, ranks } = decision;
        const used = ranks.map(({ node }) => snapshot.nodes.find((other) => other.node === node));
        expect(new Set(used).size).toBe(request.nodes);
        for (const [i, node] of used.entries()) {
          expect(node).toMatchObject({ alive: true, cordoned: false });
          expect(ranks[i]?.gpuIds).toHaveLength(request.gpusPerNode);
          if (request.gpus > 0) expect(node?.gpuType).toBe(request.gpuType);
          if (request.nodeNames.length > 0) expect(request.nodeNames).toContain(node?.node);
        }
      }
    });
  });

  it('starts no run while one of a higher class that asks for the same or less waits', () => {
    check((snapshot, history) => {
      const decisions = plan(snapshot, NOW, history);
      const usable = snapshot.nodes.filter(({ alive, cordoned }) => alive && !cordoned);
      const waiting = snapshot.queue.filter(
        (request) =>
          waits(decisions, request) && fits(request, usable).fits && request.nodeNames.length === 0,
      );
      for (const decision of decisions) {
        if (decision.type !== 'ADMIT') continue;
        const passed = waiting.filter(
          (other) =>
            priorityRank(other.priority) < priorityRank(decision.request.priority) &&
            other.gpuType === decision.request.gpuType &&
            size(other) <= size(decision.request),
        );
        expect(passed).toEqual([]);
      }
    });
  });

  it('asks only preemptible runs of lower classes to give way, and never one more than needed', () => {
    check((snapshot, history) => {
      const preemptions = plan(snapshot, NOW, history).flatMap((d) => (d.type === 'PREEMPT' ? [d] : []));
      const inFavour = new Set(preemptions.map(({ inFavourOf }) => inFavourOf));
      for (const favoured of inFavour) {
        const request = snapshot.queue.find(({ run }) => run === favoured);
        const victims = preemptions.filter(({ inFavourOf }) => inFavourOf === favoured);
        expect(request).toBeDefined();
        for (const victim of victims) {
          const lease = snapshot.leases.find(
            (other) => resumptionKey(other.request) === resumptionKey(victim),
          );
          expect(lease?.request.preemptible).toBe(true);
          expect(lease?.revokedFor).toBeUndefined();
          expect(priorityRank(lease?.request.priority ?? 'highest')).toBeGreaterThan(
            priorityRank(request?.priority ?? 'lowest'),
          );
        }
      }
    });
  });

  it('sends nobody away for a run that does not start when they have gone', () => {
    check((snapshot, history) => {
      const preemptions = plan(snapshot, NOW, history).flatMap((d) => (d.type === 'PREEMPT' ? [d] : []));
      const gone = new Set(preemptions.map(resumptionKey));
      const next = apply(snapshot, NOW, history);
      const leases = next.leases.filter(
        ({ request, revokedFor }) => revokedFor === undefined && !gone.has(resumptionKey(request)),
      );
      const started = apply({ ...next, leases }, NOW, history).leases.map(({ request }) => request.run);
      expect(started).toEqual(expect.arrayContaining(preemptions.map(({ inFavourOf }) => inFavourOf)));
    });
  });

  it('is the same for the same snapshot, in whatever order its parts are listed', () => {
    fc.assert(
      fc.property(snapshotOf, historyOf, fc.infiniteStream(fc.nat()), (snapshot, history, keys) => {
        const shuffle = <T>(items: readonly T[]): T[] =>
          items
            .map((item) => ({ item, key: keys.next().value }))
            .toSorted((a, b) => a.key - b.key)
            .map(({ item }) => item);
        const shuffled = {
          ...snapshot,
          nodes: shuffle(snapshot.nodes),
          queue: shuffle(snapshot.queue),
          leases: shuffle(snapshot.leases),
        };
        expect(plan(shuffled, NOW, history)).toEqual(plan(snapshot, NOW, history));
      }),
      { numRuns: 300 },
    );
  });

  it('leaves the snapshot and the history as they were', () => {
    check((snapshot, history) => {
      const before = JSON.stringify([snapshot, history]);
      plan(snapshot, NOW, history);
      expect(JSON.stringify([snapshot, history])).toBe(before);
    });
  });

  it('starts something on an empty cluster that could take it, under every policy', () => {
    fc.assert(
      fc.property(nodesOf, requestOf, fc.constantFrom(...POLICIES), (nodes, request, policy) => {
        const run = { ...request, run: 'only' };
        const snapshot = { cluster: 'c', nodes, queue: [run], leases: [] };
        const usable = nodes.filter(({ alive, cordoned }) => alive && !cordoned);
        const known = run.nodeNames.every((name) => usable.some(({ node }) => node === name));
        fc.pre(known);
        const [decision] = plan(snapshot, NOW, emptyHistory(), policy);
        expect(decision?.type).toBe(fits(run, usable).fits ? 'ADMIT' : 'WAIT');
      }),
    );
  });
});

describe('a large run among endless small ones', () => {
  it.each([
    ['with limits', true],
    ['without limits', false],
  ])('starts %s', (_, limited) => {
    fc.assert(
      fc.property(
        fc.record({
          large: fc.integer({ min: 2, max: 8 }),
          smallSecs: fc.integer({ min: 10, max: 5_000 }),
          gapSecs: fc.integer({ min: 1, max: 600 }),
          spread: fc.integer({ min: 1, max: 5 }),
        }),
        (load) => {
          // Generous: what matters is that there is an end to it.
          const boundMs = 60 * load.smallSecs * load.spread * 1_000 + 60 * HOUR_MS;
          expect(waitOfLarge(load, limited, boundMs)).toBeLessThan(boundMs);
        },
      ),
      { numRuns: 25 },
    );
  });
});

interface Load {
  readonly large: number;
  readonly smallSecs: number;
  readonly gapSecs: number;
  /** Small runs last from `smallSecs` to so many times as long. */
  readonly spread: number;
}

/** Virtual time until the large run starts, milliseconds; small runs always wait behind it. */
function waitOfLarge(load: Load, limited: boolean, boundMs: number): number {
  const history = emptyHistory();
  let small = 0;
  const next = (now: number): CapacityRequest => {
    const request = aRequest(`small${String(small++).padStart(6, '0')}`, {
      name: 'small',
      createdAt: now,
    });
    return limited ? { ...request, maxDurationMs: durationOf(load, request.run) * 2 } : request;
  };
  const large = aRequest('large', { gpus: load.large, createdAt: 1 });
  let snapshot: ClusterSnapshot = { cluster: 'c', nodes: [aNode('n1')], queue: [large], leases: [] };
  for (let now = 1; now < boundMs; now += load.gapSecs * 1_000) {
    const ended = snapshot.leases.filter(
      ({ request, grantedAt }) => grantedAt + durationOf(load, request.run) <= now,
    );
    for (const { request, grantedAt } of ended) learn(history, request, now - grantedAt);
    const queue = [...snapshot.queue];
    while (queue.length < 12) queue.push(next(now));
    const leases = snapshot.leases.filter((lease) => !ended.includes(lease));
    snapshot = apply({ ...snapshot, leases, queue }, now, history);
    if (snapshot.leases.some(({ request }) => request.run === 'large')) return now;
  }
  return boundMs;
}

function durationOf({ smallSecs, spread }: Load, run: string): number {
  const digit = Number(run.slice(-1)) % spread;
  return smallSecs * 1_000 * (1 + digit);
}

function waits(decisions: readonly Decision[], { run }: CapacityRequest): boolean {
  return decisions.some((decision) => decision.type === 'WAIT' && decision.run === run);
}

function size({ gpus, nodes }: CapacityRequest): number {
  return gpus === 0 ? nodes : gpus;
}
