/** What the checker says about evidence, in short. */
import { check } from '../../faults/check.ts';
import type { Invariant } from '../../faults/findings.ts';
import type { Evidence } from '../../faults/evidence.ts';

/** Invariants that are objected to, each once. */
export function objections(evidence: Evidence): Invariant[] {
  return [...new Set(check(evidence).violations.map(({ invariant }) => invariant))];
}

export const messages = (evidence: Evidence): string =>
  check(evidence)
    .violations.map(({ message }) => message)
    .join('\n');
