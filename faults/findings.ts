/** Collects what one part of the checker finds. */
import type { Findings, Invariant, Violation } from './check.ts';

export class Notes implements Findings {
  readonly violations: Violation[] = [];
  readonly looks: Partial<Record<Invariant, number>> = {};

  /** Counts one look at an invariant; what it finds is told with `object`. */
  look(invariant: Invariant, count = 1): void {
    this.looks[invariant] = (this.looks[invariant] ?? 0) + count;
  }

  object(invariant: Invariant, run: string | undefined, message: string): void {
    this.violations.push({ invariant, ...(run === undefined ? {} : { run }), message });
  }
}

/** Groups in the order of their first member. */
export function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}
