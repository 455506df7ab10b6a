/** What the checker looks at, and what it finds. */

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

/** Collects what one part of the checker finds. */
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
