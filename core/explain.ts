/**
 * Why one run waits: what blocks it, who is ahead and why, who holds what it waits for, and the smallest changes that
 * would start it now. Nothing is promised that the planner has not been asked about: every change is tried on it.
 */
import type { CapacityRequest, ClusterSnapshot } from './cluster.ts';
import type { RunTimeHistory } from './estimates.ts';
import type { Obstacle } from './obstacle.ts';
import type { Waiting } from './ordering.ts';
import { duration } from './phrases.ts';
import { Planning } from './planning.ts';
import { PRODUCT_POLICY } from './policy.ts';
import { PRIORITIES, priorityRank } from './priority.ts';
import type { Priority } from './priority.ts';
import { resolveResources } from './resources.ts';
import type { ComputeRequest, RunSpec } from './run-spec.ts';
import { decide } from './scheduler.ts';
import { describeWaits } from './waiting.ts';
import type { Wait } from './waiting.ts';

export interface PlannedCluster {
  readonly snapshot: ClusterSnapshot;
  readonly history: RunTimeHistory;
}

export interface Question {
  readonly run: string;
  /** As submitted: what a clone of it asks for. */
  readonly spec: RunSpec;
  /** The cluster in whose queue it is. */
  readonly home: PlannedCluster;
  readonly others: readonly PlannedCluster[];
  /** Epoch milliseconds. */
  readonly now: number;
}

export interface Explanation extends Pick<Wait, 'position' | 'reason' | 'expectedStart'> {
  readonly request: CapacityRequest;
  readonly obstacle: Obstacle;
  /** The runs before it that want the same kind of capacity, in queue order: the others are not in its way. */
  readonly ahead: readonly Ahead[];
  /** Who holds that kind of capacity, the first to end first. */
  readonly holders: readonly Holder[];
  /** Each alone would start the run now; at most one of each kind and place. */
  readonly changes: readonly Change[];
}

export interface Ahead {
  readonly request: CapacityRequest;
  readonly position: number;
  /** A few words, by the keys that the queue is sorted by. */
  readonly why: string;
}

export interface Holder {
  readonly request: CapacityRequest;
  /** Epoch milliseconds, as planned with: by its limit, or guessed. */
  readonly expectedEnd: number;
}

/** One change that is enough, and the preemptible runs that would have to go for it first. */
export type Change = { readonly givingWay: readonly string[] } & (
  | { readonly type: 'max-duration'; readonly hours: number }
  | { readonly type: 'priority'; readonly priority: Priority }
  /** A queued run keeps what it asked for: these are made on a clone, which goes to the end of its class. */
  | { readonly type: 'any-node' | 'gpus' | 'gpu-type' | 'cluster'; readonly compute: CloneCompute }
);

/** What a clone asks for in place of the compute section of its original; what is absent stays. */
export type CloneCompute = Required<Pick<ComputeRequest, 'cluster' | 'gpuType' | 'gpus'>> &
  Pick<ComputeRequest, 'nodes' | 'nodeNames'>;

/** Undefined where the run does not wait: it would start now, or its cluster does not know it. */
export function explain(question: Question): Explanation | undefined {
  const { run, home, now } = question;
  const planning = new Planning(home.snapshot, now, home.history, PRODUCT_POLICY);
  const index = planning.held.findIndex(({ waiting }) => waiting.request.run === run);
  const held = planning.held[index];
  const wait = describeWaits(planning)[index];
  if (held === undefined || wait === undefined) return undefined;
  const { waiting, obstacle } = held;
  const { type: _type, run: _run, resumption: _resumption, ...place } = wait;
  return {
    ...place,
    request: waiting.request,
    obstacle,
    ahead: runsAhead(planning, index, waiting),
    holders: holdersOf(planning, waiting),
    changes: changesFor({ ...question, request: waiting.request, obstacle }),
  };
}

function runsAhead({ held }: Planning, index: number, mine: Waiting): Ahead[] {
  return held
    .slice(0, index)
    .map(({ waiting }, i) => ({ waiting, position: i + 1 }))
    .filter(({ waiting }) => waiting.demand.pool === mine.demand.pool)
    .map(({ waiting, position }) => ({ request: waiting.request, position, why: whyAhead(waiting, mine) }));
}

/** Across classes the class decides; within one the due date, which is the time of submission and some grace. */
function whyAhead(other: Waiting, mine: Waiting): string {
  if (other.classRank !== mine.classRank) return 'higher priority';
  const dueEarlierMs = mine.key - other.key;
  const olderMs = mine.request.createdAt - other.request.createdAt;
  const lessGraceMs = dueEarlierMs - olderMs;
  if (olderMs >= lessGraceMs) {
    return olderMs < MINUTE_MS ? 'submitted just before' : `submitted ${duration(olderMs)} earlier`;
  }
  const [takes, mineTakes] = [other.estimate.ms, mine.estimate.ms];
  const why =
    takes < mineTakes
      ? `expected to take ${duration(takes)}, this run ${duration(mineTakes)}`
      : 'runs without a max duration are due within a day';
  return `due ${duration(dueEarlierMs)} earlier: ${why}`;
}

function holdersOf({ capacity }: Planning, { demand }: Waiting): Holder[] {
  const tenants = capacity.pools.get(demand.pool)?.tenants ?? [];
  return tenants
    .map((tenant) => ({ request: tenant.request, expectedEnd: capacity.endOf(tenant) }))
    .sort((a, b) => a.expectedEnd - b.expectedEnd);
}

interface Case extends Question {
  readonly request: CapacityRequest;
  readonly obstacle: Obstacle;
}

/** What asks the least of the user first. */
function changesFor(asked: Case): Change[] {
  return [...shorter(asked), ...anyNode(asked), ...smaller(asked), ...elsewhere(asked), ...moreUrgent(asked)];
}

/** The longest limit with which the run would start: up to the reservation in its way, or a round number of hours. */
function shorter({ request, obstacle, home, now }: Case): Change[] {
  // Of a run that has run before, the limit counts from its first start.
  if (request.resumption > 0) return [];
  const gapMs = obstacle.type === 'reserved' ? obstacle.startsAt - now - TYPING_MS : 0;
  const limits = [Math.floor(gapMs / 36_000) / 100, ...LIMITS_HOURS].sort((a, b) => b - a);
  for (const hours of limits) {
    const maxDurationMs = hours * 60 * MINUTE_MS;
    if (hours <= 0 || maxDurationMs >= (request.maxDurationMs ?? Infinity)) continue;
    const givingWay = startsNow(home, { ...request, maxDurationMs }, now);
    if (givingWay) return [{ type: 'max-duration', hours, givingWay }];
  }
  return [];
}

function anyNode(asked: Case): Change[] {
  const { request, home } = asked;
  if (request.nodeNames.length === 0) return [];
  const compute = { ...computeAt(home, request.gpuType, request.gpus), nodeNames: [] };
  return cloned(asked, 'any-node', home, compute);
}

/** The most nodes, or else the most GPUs on each, with which the run would start. */
function smaller(asked: Case): Change[] {
  const { gpus, gpuType, nodes, gpusPerNode } = asked.request;
  if (gpus === 0) return [];
  const sizes = [
    ...below(nodes).map((fewer) => ({ gpus: fewer * gpusPerNode, nodes: fewer })),
    ...below(gpusPerNode).map((fewer) => ({ gpus: nodes * fewer, nodes })),
  ];
  for (const { gpus, nodes: fewer } of sizes) {
    const compute = {
      ...computeAt(asked.home, gpuType, gpus),
      ...(nodes > 1 && { nodes: fewer }),
    };
    const [change] = cloned(asked, 'gpus', asked.home, compute);
    if (change) return [change];
  }
  return [];
}

/** Smaller numbers down to 1, largest first; past the first few tries, in halves. */
function below(n: number): number[] {
  const numbers: number[] = [];
  for (let next = n - 1; next >= 1;) {
    numbers.push(next);
    next = numbers.length < TRIES ? next - 1 : Math.floor(next / 2);
  }
  return numbers;
}

/** The same on GPUs of another type, or on another cluster. */
function elsewhere(asked: Case): Change[] {
  const { request, home, others } = asked;
  return [home, ...others].flatMap((place) => {
    const { nodes } = place.snapshot;
    const types =
      request.gpus === 0 ? [null] : [...new Set(nodes.flatMap(({ gpuType }) => gpuType ?? []))].sort();
    return types
      .filter((gpuType) => place !== home || gpuType !== request.gpuType)
      .flatMap((gpuType) => {
        const compute = computeAt(place, gpuType, request.gpus);
        if (place === home) return cloned(asked, 'gpu-type', place, compute);
        // The nodes of another cluster have other names.
        const anywhere = request.nodeNames.length > 0 ? { ...compute, nodeNames: [] } : compute;
        return cloned(asked, 'cluster', place, anywhere);
      });
  });
}

/** The lowest class above its own that is enough. */
function moreUrgent({ request, home, now }: Case): Change[] {
  const above = PRIORITIES.slice(0, priorityRank(request.priority)).toReversed();
  for (const priority of above) {
    const givingWay = startsNow(home, { ...request, priority }, now);
    if (givingWay) return [{ type: 'priority', priority, givingWay }];
  }
  return [];
}

function computeAt({ snapshot }: PlannedCluster, gpuType: string | null, gpus: number): CloneCompute {
  return { cluster: snapshot.cluster, gpuType: gpuType ?? 'none', gpus };
}

/** The change, where `mcli run --clone` with this compute would be accepted and start. */
function cloned(
  { request, spec, home, others, now }: Case,
  type: Extract<Change, { compute: CloneCompute }>['type'],
  place: PlannedCluster,
  compute: CloneCompute,
): Change[] {
  const clusters = [home, ...others].map(({ snapshot }) => snapshot);
  const answer = resolveResources({ ...spec, compute: { ...spec.compute, ...compute } }, clusters);
  if (!answer.ok) return [];
  const { priority, preemptible, maxDurationHours } = spec.scheduling;
  const { maxDurationMs: _, ...rest } = request;
  const clone = {
    ...rest,
    ...answer.resources,
    resumption: 0,
    createdAt: now,
    priority,
    preemptible,
    ...(maxDurationHours !== undefined && { maxDurationMs: maxDurationHours * 60 * MINUTE_MS }),
  };
  const givingWay = startsNow(place, clone, now);
  return givingWay ? [{ type, compute, givingWay }] : [];
}

/** The runs that would give way if `request` stood in the place of its run; undefined when it would wait. */
function startsNow(
  { snapshot, history }: PlannedCluster,
  request: CapacityRequest,
  now: number,
): readonly string[] | undefined {
  const queue = [...snapshot.queue.filter(({ run }) => run !== request.run), request];
  const { admissions, preemptions } = decide({ ...snapshot, queue }, now, history);
  const victims = preemptions.filter(({ inFavourOf }) => inFavourOf === request.run).map(({ run }) => run);
  const admitted = admissions.some((admission) => admission.request.run === request.run);
  return admitted || victims.length > 0 ? victims : undefined;
}

const MINUTE_MS = 60_000;
/** Reading and typing take a moment, and the reservation does not wait. */
const TYPING_MS = 2 * MINUTE_MS;
/** Limits that people write. */
const LIMITS_HOURS = [72, 48, 24, 12, 8, 6, 4, 3, 2, 1.5, 1, 0.5, 0.25];
/** Each try is a plan, up to 20 ms with ten thousand runs: a person waits a second or two for all of them together. */
const TRIES = 16;
