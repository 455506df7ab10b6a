/** When waiting runs would start if the queue were served in its order, by counting units: quick, and only a forecast. */

export interface Held {
  readonly units: number;
  /** Epoch milliseconds. */
  readonly endsAt: number;
}

export interface Claim {
  readonly units: number;
  readonly ms: number;
}

/**
 * A start for each claim, in the order given; Infinity where it never fits. No claim starts before the one ahead of
 * it: passing would need a plan of its own for every moment to come.
 */
export function playForward(
  now: number,
  free: number,
  held: readonly Held[],
  queue: readonly Claim[],
): number[] {
  const ends = new EndHeap(held);
  let clock = now;
  let left = free;
  return queue.map(({ units, ms }) => {
    while (left < units) {
      const next = ends.pop();
      if (next === undefined) return Infinity;
      clock = Math.max(clock, next.endsAt);
      left += next.units;
    }
    left -= units;
    ends.push({ units, endsAt: clock + ms });
    return clock;
  });
}

/** When `units` more than now are free, if nobody else takes any; Infinity if never. `held` is sorted by end. */
export function freedBy(held: readonly Held[], units: number): number {
  let freed = 0;
  for (const { units: more, endsAt } of held) {
    freed += more;
    if (freed >= units) return endsAt;
  }
  return Infinity;
}

/** A binary heap, earliest end first. */
class EndHeap {
  readonly #items: Held[];

  constructor(items: readonly Held[]) {
    // Sorted is a heap already.
    this.#items = items.toSorted((a, b) => a.endsAt - b.endsAt);
  }

  push(item: Held): void {
    const items = this.#items;
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      const above = items[parent];
      if (above === undefined || above.endsAt <= item.endsAt) break;
      items[at] = above;
      at = parent;
    }
    items[at] = item;
  }

  pop(): Held | undefined {
    const items = this.#items;
    const top = items[0];
    const last = items.pop();
    if (top === undefined || last === undefined || items.length === 0) return top;
    let at = 0;
    for (;;) {
      const left = items[2 * at + 1];
      const right = items[2 * at + 2];
      if (left === undefined) break;
      const smaller = right !== undefined && right.endsAt < left.endsAt ? right : left;
      if (smaller.endsAt >= last.endsAt) break;
      items[at] = smaller;
      at = 2 * at + (smaller === left ? 1 : 2);
    }
    items[at] = last;
    return top;
  }
}
