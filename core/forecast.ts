/** When waiting runs would start if the queue were served in its order, by counting units: quick, and only a forecast. */

/** A lease: what comes back, and when. */
export interface Return {
  readonly units: number;
  /** Epoch milliseconds. */
  readonly at: number;
}

/**
 * Starts of a queue whose i-th run takes `units[i]` for `ms[i]`; Infinity where one never fits. `returns` are sorted by
 * time. No run starts before the one ahead of it: passing would need a plan of its own for every moment to come.
 */
export function playForward(
  now: number,
  free: number,
  returns: readonly Return[],
  queue: { readonly length: number; readonly units: Float64Array; readonly ms: Float64Array },
): Float64Array {
  const { length } = queue;
  const starts = new Float64Array(length).fill(Infinity);
  const ends = new EndHeap(returns, length);
  let clock = now;
  let left = free;
  for (let i = 0; i < length; i++) {
    const units = queue.units[i] ?? 0;
    while (left < units && ends.size > 0) {
      clock = Math.max(clock, ends.firstEnd);
      left += ends.pop();
    }
    if (left < units) return starts;
    left -= units;
    ends.push(clock + (queue.ms[i] ?? 0), units);
    starts[i] = clock;
  }
  return starts;
}

/** When `units` more than now are free, if nobody else takes any; Infinity if never. `returns` are sorted. */
export function freedBy(returns: readonly Return[], units: number): number {
  let freed = 0;
  for (const { units: more, at } of returns) {
    freed += more;
    if (freed >= units) return at;
  }
  return Infinity;
}

/** A binary heap in two flat arrays: with ten thousand runs, objects would cost more than the counting. */
class EndHeap {
  size: number;
  readonly #ends: Float64Array;
  readonly #units: Float64Array;

  /** `sorted` is a heap already; `room` more will be pushed at most. */
  constructor(sorted: readonly Return[], room: number) {
    this.size = sorted.length;
    this.#ends = new Float64Array(sorted.length + room);
    this.#units = new Float64Array(sorted.length + room);
    for (const [i, { at, units }] of sorted.entries()) this.#put(i, at, units);
  }

  get firstEnd(): number {
    return this.#ends[0] ?? Infinity;
  }

  push(end: number, units: number): void {
    let at = this.size++;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      const above = this.#ends[parent] ?? 0;
      if (above <= end) break;
      this.#put(at, above, this.#units[parent] ?? 0);
      at = parent;
    }
    this.#put(at, end, units);
  }

  /** Removes the earliest end; answers with its units. */
  pop(): number {
    const freed = this.#units[0] ?? 0;
    const last = --this.size;
    const end = this.#ends[last] ?? Infinity;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= last) break;
      if (child + 1 < last && (this.#ends[child + 1] ?? 0) < (this.#ends[child] ?? 0)) child += 1;
      if ((this.#ends[child] ?? 0) >= end) break;
      this.#put(at, this.#ends[child] ?? 0, this.#units[child] ?? 0);
      at = child;
    }
    this.#put(at, end, this.#units[last] ?? 0);
    return freed;
  }

  #put(at: number, end: number, units: number): void {
    this.#ends[at] = end;
    this.#units[at] = units;
  }
}
