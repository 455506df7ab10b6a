/**
 * Why one run waits: what blocks it, who is ahead and why, and the smallest changes that would start it now. Nothing
 * is promised that the planner has not been asked about: every change is tried on a copy of the snapshot.
 */
import type { CapacityRequest, ClusterSnapshot } from './cluster.ts';
import type { RunTimeHistory } from './estimates.ts';
import type { Obstacle } from './obstacle.ts';
import { count, duration } from './phrases.ts';
import { sizeOf } from './placement.ts';
import { Planning } from './planning.ts';
import { PRODUCT_POLICY } from './policy.ts';
import { plan } from './scheduler.ts';
import { describeWaits } from './waiting.ts';
import type { Wait } from './waiting.ts';

export interface Explanation extends Omit<Wait, 'type'> {
  readonly obstacle: Obstacle;
  /** The runs before it in the queue, the nearest to start first; at most ten. */
  readonly ahead: readonly { readonly run: string; readonly gpus: number; readonly why: string }[];
  readonly aheadInAll: number;
  /** Who holds what it waits for, the first to end first; at most ten. */
  readonly holders: readonly Holder[];
  /** Each alone would start the run now. */
  readonly changes: readonly Change[];
}

export interface Holder {
  readonly run: string;
  readonly user: string;
  readonly gpus: number;
  /** Epoch milliseconds, as planned with: by its limit, or guessed. */
  readonly expectedEnd: number;
}

export interface Change {
  readonly type: 'fewer-gpus' | 'fewer-nodes' | 'shorter-limit' | 'any-node' | 'other-cluster';
  /** One sentence: what to change. */
  readonly says: string;
}

/** Undefined where the run does not wait: it would start now, or the cluster does not know it. */
export function explain(
  snapshot: ClusterSnapshot,
  now: number,
  history: RunTimeHistory,
  run: string,
  others: readonly ClusterSnapshot[] = [],
): Explanation | undefined {
  const planning = new Planning(snapshot, now, history, PRODUCT_POLICY);
  const index = planning.held.findIndex(({ waiting }) => waiting.request.run === run);
  const held = planning.held[index];
  const told = describeWaits(planning)[index];
  if (held === undefined || told === undefined) return undefined;
  const { request, demand } = held.waiting;
  const starts = (changed: CapacityRequest, on = snapshot): boolean => {
    const queue = [...on.queue.filter((other) => other.run !== run), changed];
    return plan({ ...on, queue }, now, history).some((d) => d.type === 'ADMIT' && d.request.run === run);
  };
  const { type: _, ...facts } = told;
  const tenants = planning.capacity.pools.get(demand.pool)?.tenants ?? [];
  return {
    ...facts,
    obstacle: held.obstacle,
    ahead: planning.held
      .slice(0, index)
      .filter(({ waiting }) => waiting.demand.pool === demand.pool)
      .slice(0, SHOWN)
      .map(({ waiting: other }) => ({
        run: other.request.run,
        gpus: other.request.gpus,
        why: whyAhead(other.request, other.classRank - held.waiting.classRank, request),
      })),
    aheadInAll: index,
    holders: tenants
      .map((tenant) => ({
        run: tenant.request.run,
        user: tenant.request.user,
        gpus: tenant.request.gpus,
        expectedEnd: planning.capacity.endOf(tenant),
      }))
      .sort((a, b) => a.expectedEnd - b.expectedEnd)
      .slice(0, SHOWN),
    changes: [
      ...smaller(request, starts),
      ...shorter(request, held.obstacle, now, starts),
      ...anyNode(request, starts),
      ...elsewhere(request, others, starts),
    ],
  };
}

const SHOWN = 10;

function whyAhead(other: CapacityRequest, classDifference: number, request: CapacityRequest): string {
  if (classDifference < 0) return `its priority is ${other.priority}, this run's is ${request.priority}`;
  const age = request.createdAt - other.createdAt;
  if (age > 0) return `it was submitted ${duration(age)} earlier`;
  return `it is expected to take less time, so it is due earlier`;
}

type Starts = (changed: CapacityRequest, on?: ClusterSnapshot) => boolean;

/** The most GPUs on each node, or else the most nodes, with which the run would start. */
function smaller(request: CapacityRequest, starts: Starts): Change[] {
  const { gpus, nodes, gpusPerNode } = request;
  if (gpus === 0) return [];
  for (const fewer of below(nodes)) {
    const changed = { ...request, nodes: fewer, gpus: fewer * gpusPerNode };
    if (!starts(changed)) continue;
    return [
      { type: 'fewer-nodes', says: `ask for ${count(changed.gpus, 'GPU')} on ${count(fewer, 'node')}` },
    ];
  }
  for (const fewer of below(gpusPerNode)) {
    const changed = { ...request, gpusPerNode: fewer, gpus: fewer * nodes };
    if (!starts(changed)) continue;
    const each = nodes > 1 ? ` (${fewer} on each of ${nodes} nodes)` : '';
    return [{ type: 'fewer-gpus', says: `ask for ${count(sizeOf(changed), 'GPU')}${each}` }];
  }
  return [];
}

/** All smaller numbers down to 1, largest first; past the first few tries, in halves. */
function below(n: number): number[] {
  const numbers: number[] = [];
  for (let next = n - 1; next >= 1;) {
    numbers.push(next);
    next = numbers.length < TRIES ? next - 1 : Math.floor(next / 2);
  }
  return numbers;
}

/** Each try is a whole plan. */
const TRIES = 16;

/** The longest limit with which the run would start. */
function shorter(request: CapacityRequest, obstacle: Obstacle, now: number, starts: Starts): Change[] {
  const gaps =
    obstacle.type === 'reserved' ? [Math.floor((obstacle.startsAt - now) / MINUTE_MS) * MINUTE_MS] : [];
  const limits = [...gaps, ...LIMITS_MS]
    .filter((limit) => limit > 0 && limit < (request.maxDurationMs ?? Infinity))
    .sort((a, b) => b - a);
  for (const limit of limits) {
    if (starts({ ...request, maxDurationMs: limit })) {
      return [{ type: 'shorter-limit', says: `set scheduling.max_duration to ${hours(limit)} hours` }];
    }
  }
  return [];
}

const MINUTE_MS = 60_000;
const LIMITS_MS = [24, 12, 6, 3, 1, 0.5, 0.25].map((limit) => limit * 60 * MINUTE_MS);

/** Rounded down, so that what is advised is never longer than what was tried. */
function hours(ms: number): string {
  return String(Math.floor(ms / 36_000) / 100);
}

function anyNode(request: CapacityRequest, starts: Starts): Change[] {
  if (request.nodeNames.length === 0 || !starts({ ...request, nodeNames: [] })) return [];
  return [{ type: 'any-node', says: 'leave compute.node_names out' }];
}

function elsewhere(request: CapacityRequest, others: readonly ClusterSnapshot[], starts: Starts): Change[] {
  return others
    .filter((cluster) => starts({ ...request, nodeNames: [] }, cluster))
    .map(({ cluster }) => ({ type: 'other-cluster', says: `submit it to cluster ${cluster}` }));
}
