/**
 * The checker: from evidence to violations. Pure, and on nobody's side: what cannot be explained by the programs and by
 * the faults that hit them is a violation.
 */
import { checkCapacity } from './check-capacity.ts';
import { checkContainers } from './check-containers.ts';
import { checkEnds } from './check-ends.ts';
import { checkFaults } from './check-faults.ts';
import { checkFollows } from './check-follow.ts';
import { checkLogs } from './check-logs.ts';
import type { Evidence } from './evidence.ts';

export const INVARIANTS = {
  'accepted-exists': 'every run that mcli accepted is there, once',
  'ends-once': 'every run ends, and exactly once',
  'in-order': 'no status goes back within a resumption, and no resumption comes back',
  'right-status': 'the status at the end follows from the program, the orders and the faults',
  'killed-again': 'a run whose container was killed from outside begins again',
  'goes-on': 'no run begins again without a cause',
  'one-container': 'never two live containers of one rank',
  'started-once': 'a rank of a resumption is started once',
  'leased-once': 'no GPU and no CPU slot is leased twice at a time',
  'gang-whole': 'a run gets the capacity for all its ranks together, and once',
  'given-back': 'the capacity of a run that has ended is free again',
  'all-free': 'in the end, all GPUs and all CPU slots can be had at once',
  'gpu-held-once': 'no two containers hold one GPU at a time',
  'lease-for-container': 'no container without a lease',
  'lines-once': 'every line that was printed is in the log, once and in order',
  'follow-whole': '`mcli logs --follow` prints what the log has, whatever happens meanwhile',
  'read-whole': '`mcli logs` prints what the log has',
  'well-again': 'what was hit is well again within two minutes',
  'faults-hit': 'at least four of five faults find something to hit',
} as const;

export type Invariant = keyof typeof INVARIANTS;

export interface Violation {
  readonly invariant: Invariant;
  /** Own name of the run, where one is concerned. */
  readonly run?: string;
  readonly message: string;
}

/** What a part of the checker found, and how often it looked. */
export interface Findings {
  readonly violations: readonly Violation[];
  readonly looks: Partial<Record<Invariant, number>>;
}

export function check(evidence: Evidence): Findings {
  const parts = [
    checkEnds(evidence),
    checkContainers(evidence),
    checkCapacity(evidence),
    checkLogs(evidence),
    checkFollows(evidence),
    checkFaults(evidence),
  ];
  return {
    violations: parts.flatMap(({ violations }) => violations),
    looks: Object.assign({}, ...parts.map(({ looks }) => looks)) as Findings['looks'],
  };
}
