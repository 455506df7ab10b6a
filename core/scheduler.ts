/**
 * The scheduler: from a snapshot of a cluster to what to do now. Pure; the same snapshot gives the same plan, in
 * whatever order its nodes, queue and leases are listed.
 *
 * Runs are looked at in queue order. One that fits starts. The first that has to wait gets a reservation at the
 * earliest time it can expect to fit, and later ones go ahead of it only if that leaves the reservation alone.
 */
import type { CapacityRequest, ClusterSnapshot, RankPlacement } from './cluster.ts';
import { estimate, outlived } from './estimates.ts';
import type { Estimate, RunTimeHistory } from './estimates.ts';
import { byQueueOrder, classRankOf } from './ordering.ts';
import type { Waiting } from './ordering.ts';
import { describeWaits } from './waiting.ts';
import { Line } from './line.ts';
import { Capacity, demandOf, fitsNow } from './placement.ts';
import type { Bay, Demand, Pool, Tenant } from './placement.ts';
import { chooseVictims } from './preemption.ts';
import { PRODUCT_POLICY } from './policy.ts';
import type { Policy, PolicyView } from './policy.ts';

export type Decision =
  | { readonly type: 'ADMIT'; readonly request: CapacityRequest; readonly ranks: readonly RankPlacement[] }
  | {
      readonly type: 'PREEMPT';
      readonly run: string;
      readonly resumption: number;
      /** The run that needs the room. */
      readonly inFavourOf: string;
    }
  | Wait;

export interface Wait {
  readonly type: 'WAIT';
  readonly run: string;
  readonly resumption: number;
  /** 1 is the head of the queue. */
  readonly position: number;
  /** One sentence for people. */
  readonly reason: string;
  /** Epoch milliseconds; absent where nobody can tell. */
  readonly expectedStart?: { readonly from: number; readonly to: number };
}

/** What to do now, at `now` epoch milliseconds. Admissions and preemptions first, then every run that waits. */
export function plan(
  snapshot: ClusterSnapshot,
  now: number,
  history: RunTimeHistory,
  policy: Policy = PRODUCT_POLICY,
): Decision[] {
  const planning = new Planning(snapshot, now, history, policy);
  planning.decide();
  const waits = describeWaits(planning);
  return [...planning.admissions, ...planning.preemptions, ...waits];
}

/** How long a preempted run is given to be gone; only an expectation, never enforced here. */
const LEAVING_MS = 60_000;

/** Why a run waits; what the sentence for people is made from. */
export type Obstacle =
  | { readonly type: 'no-such-nodes' }
  | { readonly type: 'too-little-free' }
  | { readonly type: 'reserved'; readonly for: CapacityRequest; readonly startsAt: number }
  | { readonly type: 'higher-priority'; readonly run: CapacityRequest }
  | { readonly type: 'clearing'; readonly victims: readonly string[] };

export interface WaitingRun extends Waiting {
  readonly demand: Demand;
  readonly obstacle: Obstacle;
}

/** One plan in the making. */
export class Planning {
  readonly snapshot: ClusterSnapshot;
  readonly now: number;
  readonly history: RunTimeHistory;
  readonly capacity: Capacity;
  readonly admissions: Extract<Decision, { type: 'ADMIT' }>[] = [];
  readonly preemptions: Extract<Decision, { type: 'PREEMPT' }>[] = [];
  /** In queue order. */
  readonly waiting: WaitingRun[] = [];
  readonly #queue: readonly Waiting[];
  readonly #policy: Policy;
  readonly #lines = new Map<string, Line>();

  constructor(snapshot: ClusterSnapshot, now: number, history: RunTimeHistory, policy: Policy) {
    this.snapshot = snapshot;
    this.now = now;
    this.history = history;
    this.#policy = policy;
    this.capacity = new Capacity(snapshot, now, (tenant) => expectedEnd(tenant, now, history));
    this.#queue = snapshot.queue
      .map((request) => asWaiting(request, now, history, policy))
      .sort(byQueueOrder);
  }

  decide(): void {
    for (const waiting of this.#queue) {
      const demand = demandOf(waiting.request);
      const pool = this.capacity.pools.get(demand.pool);
      const obstacle =
        pool === undefined ? NO_SUCH_NODES : this.#consider(waiting, demand, pool, this.#lineOf(pool));
      if (obstacle !== undefined) this.waiting.push({ ...waiting, demand, obstacle });
    }
  }

  /** Starts the run if that is right, else says what keeps it waiting. */
  #consider(waiting: Waiting, demand: Demand, pool: Pool, line: Line): Obstacle | undefined {
    if (!line.canEverTake(demand)) return NO_SUCH_NODES;
    const ahead = line.moreUrgentFor(waiting, demand);
    if (ahead !== undefined) return { type: 'higher-priority', run: ahead };

    const endsAt = this.now + waiting.estimate.ms;
    const bays = line.hasFailed(demand, endsAt) ? undefined : this.capacity.place(demand, endsAt);
    if (bays !== undefined && !line.closed) {
      this.#admit(waiting, demand, bays);
      return undefined;
    }
    const obstacle = this.#obstacle(waiting, demand, pool, line);
    line.fail(waiting, demand, endsAt);
    if (obstacle.type === 'clearing' || line.takeHead(() => this.#isReservedFor(waiting, pool))) {
      const { startsAt } = this.capacity.reserve(demand, waiting.estimate.ms);
      line.reservation ??= { for: waiting.request, startsAt };
    }
    line.closed ||= this.#policy.strict === true;
    return obstacle;
  }

  #isReservedFor(waiting: Waiting, pool: Pool): boolean {
    return this.#policy.reserves(viewOf(waiting.request, waiting.estimate, this.now), {
      guessedLeaseMs: () => this.capacity.guessedLeaseMs(pool),
      unitsPassed: (createdAt) => this.capacity.unitsPassed(pool, createdAt),
    });
  }

  #admit({ request, classRank }: Waiting, demand: Demand, bays: readonly Bay[]): void {
    const tenant = { request, classRank, grantedAt: this.now, leaving: false, endsAt: NaN };
    this.admissions.push({ type: 'ADMIT', request, ranks: this.capacity.take(demand, bays, tenant) });
  }

  /** Makes room by preemption where that is possible. */
  #obstacle(waiting: Waiting, demand: Demand, pool: Pool, line: Line): Obstacle {
    if (line.mayPreempt(waiting, demand)) {
      const victims = chooseVictims(pool, demand, waiting.classRank);
      if (victims !== undefined) {
        this.#preempt(pool, victims, waiting.request);
        return { type: 'clearing', victims: victims.map(({ request }) => request.run) };
      }
      line.preemptionFailed(demand);
    }
    const kept = line.reservation;
    return kept !== undefined && fitsNow(pool, demand)
      ? { type: 'reserved', ...kept }
      : { type: 'too-little-free' };
  }

  #preempt(pool: Pool, victims: readonly Tenant[], inFavourOf: CapacityRequest): void {
    for (const { request } of victims) {
      const { run, resumption } = request;
      this.preemptions.push({ type: 'PREEMPT', run, resumption, inFavourOf: inFavourOf.run });
    }
    this.capacity.dismiss(pool, new Set(victims), this.now + LEAVING_MS);
  }

  #lineOf(pool: Pool): Line {
    let line = this.#lines.get(pool.name);
    if (line === undefined) this.#lines.set(pool.name, (line = new Line(pool)));
    return line;
  }
}

const NO_SUCH_NODES: Obstacle = { type: 'no-such-nodes' };

function expectedEnd(tenant: Tenant, now: number, history: RunTimeHistory): number {
  if (tenant.leaving) return now + LEAVING_MS;
  return tenant.grantedAt + outlived(estimate(history, tenant.request).ms, now - tenant.grantedAt);
}

function asWaiting(request: CapacityRequest, now: number, history: RunTimeHistory, policy: Policy): Waiting {
  const expected = estimate(history, request);
  const key = policy.key(viewOf(request, expected, now));
  return { request, classRank: classRankOf(request), estimate: expected, key };
}

function viewOf(request: CapacityRequest, expected: Estimate, now: number): PolicyView {
  return {
    createdAt: request.createdAt,
    waitedMs: now - request.createdAt,
    units: Math.max(request.gpus, request.nodes),
    estimate: expected,
  };
}
