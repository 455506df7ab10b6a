/**
 * One plan in the making: the queue is walked once, in order, and capacity is given out as it goes. What is left over
 * is who waits, and for what.
 */
import type { CapacityRequest, ClusterSnapshot, RankPlacement } from './cluster.ts';
import { outlived, RunTimes } from './estimates.ts';
import type { Estimate, RunTimeHistory } from './estimates.ts';
import { Line } from './line.ts';
import { NO_SUCH_NODES, TOO_LITTLE_FREE } from './obstacle.ts';
import type { Obstacle } from './obstacle.ts';
import { byQueueOrder, classRankOf } from './ordering.ts';
import type { Waiting } from './ordering.ts';
import { Capacity, demandOf, fitsNow, sizeOf } from './placement.ts';
import type { Bay, Pool, Tenant } from './placement.ts';
import type { Policy, PolicyView } from './policy.ts';
import { chooseVictims } from './preemption.ts';

export interface Admit {
  readonly type: 'ADMIT';
  readonly request: CapacityRequest;
  readonly ranks: readonly RankPlacement[];
}

export interface Preempt {
  readonly type: 'PREEMPT';
  readonly run: string;
  readonly resumption: number;
  /** The run that needs the room. */
  readonly inFavourOf: string;
}

/** A run that waits, and why. */
export interface Held {
  readonly waiting: Waiting;
  readonly obstacle: Obstacle;
}

export class Planning {
  readonly snapshot: ClusterSnapshot;
  readonly now: number;
  readonly runTimes: RunTimes;
  readonly capacity: Capacity;
  readonly admissions: Admit[] = [];
  readonly preemptions: Preempt[] = [];
  /** Every run that waits, in queue order. */
  readonly held: Held[] = [];
  readonly #policy: Policy;
  readonly #lines = new Map<Pool, Line>();

  constructor(snapshot: ClusterSnapshot, now: number, history: RunTimeHistory, policy: Policy) {
    this.snapshot = snapshot;
    this.now = now;
    this.runTimes = new RunTimes(history);
    this.#policy = policy;
    this.capacity = new Capacity(snapshot, now, (tenant) => this.#expectedEnd(tenant));
    const queue = snapshot.queue.map((request) => this.#asWaiting(request));
    for (const waiting of queue.sort(byQueueOrder)) {
      const obstacle = this.#consider(waiting);
      if (obstacle !== undefined) this.held.push({ waiting, obstacle });
    }
  }

  /** Starts the run if that is right, else says what keeps it waiting. */
  #consider(waiting: Waiting): Obstacle | undefined {
    const { demand, estimate } = waiting;
    const pool = this.capacity.pools.get(demand.pool);
    if (pool === undefined) return NO_SUCH_NODES;
    const line = this.#lineOf(pool);
    if (!line.canEverTake(demand)) return NO_SUCH_NODES;
    const moreUrgent = line.moreUrgentFor(waiting);
    if (moreUrgent !== undefined) return moreUrgent;

    const endsAt = this.now + estimate.ms;
    const closed = line.closed || line.hasFailed(demand, endsAt);
    const bays = closed ? undefined : this.capacity.place(demand, endsAt);
    if (bays !== undefined) {
      this.#admit(waiting, bays);
      return undefined;
    }
    const obstacle = this.#obstacleOf(waiting, pool, line);
    line.fail(waiting, endsAt);
    if (obstacle.type === 'clearing' || line.takeHead(() => this.#isReservedFor(waiting, pool))) {
      const startsAt = this.capacity.reserve(demand, estimate.ms);
      line.reservation ??= { type: 'reserved', for: waiting.request, startsAt };
    }
    line.closed ||= this.#policy.strict === true;
    return obstacle;
  }

  #admit({ request, demand, classRank }: Waiting, bays: readonly Bay[]): void {
    const tenant = { request, classRank, grantedAt: this.now, leaving: false, endsAt: NaN };
    this.admissions.push({ type: 'ADMIT', request, ranks: this.capacity.take(demand, bays, tenant) });
  }

  /** Makes room by preemption where that is possible. */
  #obstacleOf(waiting: Waiting, pool: Pool, line: Line): Obstacle {
    const { demand, request, classRank } = waiting;
    if (line.mayPreempt(waiting)) {
      const victims = chooseVictims(pool, demand, classRank);
      if (victims !== undefined) {
        this.#preempt(victims, request);
        return { type: 'clearing', victims: victims.map((victim) => victim.request.run) };
      }
      line.preemptionFailed(demand);
    }
    return line.reservation !== undefined && fitsNow(pool, demand) ? line.reservation : TOO_LITTLE_FREE;
  }

  #preempt(victims: readonly Tenant[], inFavourOf: CapacityRequest): void {
    for (const victim of victims) {
      const { run, resumption } = victim.request;
      this.preemptions.push({ type: 'PREEMPT', run, resumption, inFavourOf: inFavourOf.run });
      victim.leaving = true;
      victim.endsAt = this.now + LEAVING_MS;
    }
  }

  #isReservedFor({ request, estimate, classRank }: Waiting, pool: Pool): boolean {
    return this.#policy.reserves(this.#viewOf(request, estimate), {
      guessedLeaseMs: () => this.capacity.guessedLeaseMs(pool, classRank),
      unitsPassed: (createdAt) => this.capacity.unitsPassed(pool, classRank, createdAt),
    });
  }

  #expectedEnd({ leaving, grantedAt, request }: Tenant): number {
    if (leaving) return this.now + LEAVING_MS;
    return grantedAt + outlived(this.runTimes.estimate(request).ms, this.now - grantedAt);
  }

  #asWaiting(request: CapacityRequest): Waiting {
    const estimate = this.runTimes.estimate(request);
    const key = this.#policy.key(this.#viewOf(request, estimate));
    return { request, demand: demandOf(request), classRank: classRankOf(request), estimate, key };
  }

  #viewOf(request: CapacityRequest, estimate: Estimate): PolicyView {
    const waitedMs = this.now - request.createdAt;
    return { createdAt: request.createdAt, waitedMs, units: sizeOf(request), estimate };
  }

  #lineOf(pool: Pool): Line {
    let line = this.#lines.get(pool);
    if (line === undefined) this.#lines.set(pool, (line = new Line(pool)));
    return line;
  }
}

/**
 * How long a preempted run is expected to need to be gone. As good as nothing, so that nobody is let in meanwhile who
 * would have to give way again with the next plan, however short.
 */
const LEAVING_MS = 1_000;
