/** The line before one pool during one plan: what waits ahead, what is kept for it, and what need not be tried again. */
import type { Obstacle } from './obstacle.ts';
import type { Demand, Waiting } from './ordering.ts';
import { baysFor } from './placement.ts';
import type { Pool } from './placement.ts';

export class Line {
  /** What stands in the way of runs that would touch what is kept for the first that waits. */
  reservation: Extract<Obstacle, { type: 'reserved' }> | undefined;
  /** Set by a strict policy once a run waits: nothing passes it. */
  closed = false;
  #hasHead = false;
  readonly #pool: Pool;
  /** Demands that found no place: while a plan is made capacity only shrinks, so the same or longer fails again. */
  readonly #failed = new Map<number, number>();
  readonly #unclearable = new Set<number>();
  readonly #everFits = new Map<number, boolean>();
  #clearingsLeft = MAX_CLEARINGS;
  /** The lowest class of tenants that can be asked to leave; Infinity where some leave already. */
  #lowestToGiveWay = -1;
  /** Waiting runs of classes above the one being looked at, and those of that class. */
  #above: Blockers = { smallest: undefined, pinned: [] };
  #level: Blockers = { smallest: undefined, pinned: [] };
  #classRank = -1;

  constructor(pool: Pool) {
    this.#pool = pool;
    for (const { leaving, request, classRank } of pool.tenants) {
      if (leaving) this.#lowestToGiveWay = Infinity;
      else if (request.preemptible) this.#lowestToGiveWay = Math.max(this.#lowestToGiveWay, classRank);
    }
  }

  /** Whether the nodes in service could take the demand if they were empty. */
  canEverTake(demand: Demand): boolean {
    if (demand.nodeNames.length > 0) return this.#holds(demand);
    const shape = shapeOf(demand);
    let answer = this.#everFits.get(shape);
    if (answer === undefined) this.#everFits.set(shape, (answer = this.#holds(demand)));
    return answer;
  }

  #holds(demand: Demand): boolean {
    let missing = demand.nodes;
    for (const bay of baysFor(this.#pool, demand)) {
      if (bay.capacity >= demand.units && (missing -= 1) === 0) return true;
    }
    return false;
  }

  /**
   * A waiting run of a higher class that asks for the same or less, on nodes that this one would use: it goes first,
   * even where this one would fit and it does not.
   */
  moreUrgentFor({ classRank, demand }: Waiting): Obstacle | undefined {
    if (classRank !== this.#classRank) this.#descendTo(classRank);
    const { smallest, pinned } = this.#above;
    if (smallest !== undefined && smallest.size <= demand.size) return smallest.obstacle;
    if (demand.nodeNames.length === 0) return undefined;
    return pinned.find(
      ({ size, obstacle }) =>
        size <= demand.size && demand.nodeNames.every((name) => obstacle.run.nodeNames.includes(name)),
    )?.obstacle;
  }

  /** True for the first run that waits, if that one is to have a reservation; asks no second time. */
  takeHead(reserves: () => boolean): boolean {
    if (this.#hasHead) return false;
    this.#hasHead = true;
    return reserves();
  }

  hasFailed(demand: Demand, endsAt: number): boolean {
    return demand.nodeNames.length === 0 && endsAt >= (this.#failed.get(shapeOf(demand)) ?? Infinity);
  }

  /** The run waits: nothing of its shape that takes as long needs to be tried, and no lower class passes it. */
  fail({ request, demand }: Waiting, endsAt: number): void {
    const { size } = demand;
    if (demand.nodeNames.length > 0) {
      this.#level.pinned.push({ size, obstacle: { type: 'higher-priority', run: request } });
      return;
    }
    const shape = shapeOf(demand);
    this.#failed.set(shape, Math.min(endsAt, this.#failed.get(shape) ?? Infinity));
    if (size < (this.#level.smallest?.size ?? Infinity)) {
      this.#level.smallest = { size, obstacle: { type: 'higher-priority', run: request } };
    }
  }

  /** Whether it is worth looking for victims. */
  mayPreempt({ classRank, demand }: Waiting): boolean {
    if (this.#clearingsLeft === 0 || this.#unclearable.has(shapeOf(demand))) return false;
    return this.#lowestToGiveWay > classRank;
  }

  preemptionFailed(demand: Demand): void {
    this.#clearingsLeft -= 1;
    if (demand.nodeNames.length === 0) this.#unclearable.add(shapeOf(demand));
  }

  #descendTo(classRank: number): void {
    this.#classRank = classRank;
    const { smallest, pinned } = this.#level;
    if (smallest !== undefined && smallest.size < (this.#above.smallest?.size ?? Infinity)) {
      this.#above.smallest = smallest;
    }
    this.#above.pinned.push(...pinned);
    this.#level = { smallest: undefined, pinned: [] };
  }
}

/** Of runs that may go anywhere only the smallest matters; runs that name their nodes are kept apart. */
interface Blockers {
  smallest: Blocker | undefined;
  readonly pinned: Blocker[];
}

interface Blocker {
  readonly size: number;
  readonly obstacle: Extract<Obstacle, { type: 'higher-priority' }>;
}

/** How often a plan looks for victims in vain before it stops: each search reads every bay. */
const MAX_CLEARINGS = 64;

/** A number for units and nodes: more than a million of either does not occur. */
function shapeOf(demand: Demand): number {
  return demand.units * 1_000_000 + demand.nodes;
}
