/**
 * What the order inside a priority class goes by, and when a run that waits gets a reservation. One policy is the
 * product's; the others are what it was compared with (docs/scheduling.md) and live on for `bench:schedule`.
 */
import type { Estimate } from './estimates.ts';

/** A waiting run as a policy sees it. */
export interface PolicyView {
  /** Epoch milliseconds. */
  readonly createdAt: number;
  readonly waitedMs: number;
  /** GPUs, or CPU slots of a CPU run, over all nodes. */
  readonly units: number;
  readonly estimate: Estimate;
}

/** What has happened around the first run that has to wait. */
export interface PassingView {
  /** How long the leases are guessed to take where no limit says so; 0 when every lease has a limit, or gives way. */
  readonly guessedLeaseMs: () => number;
  /** Units that are free, give way, or are held by runs created after `createdAt`: what passing has cost, or could cost. */
  readonly unitsPassed: (createdAt: number) => number;
}

export interface Policy {
  readonly name: string;
  /** Smaller goes first within a class. */
  readonly key: (run: PolicyView) => number;
  /** Whether the first run that has to wait gets a reservation. Without any, large runs starve. */
  readonly reserves: (head: PolicyView, passing: PassingView) => boolean;
  /** Nothing passes the first run that has to wait. */
  readonly strict?: boolean;
}

const HOUR_MS = 3_600_000;

/**
 * Runs are due some time after they were created, and the one due first goes first. Short runs are due early: after
 * eight times what they are expected to take, bounded smoothly by two days, or by one day where the time is only a
 * guess. So a short run passes a long one, but never one that was created much earlier: nobody can be passed for ever.
 */
export const DUE_DATE: Policy = {
  name: 'due-date',
  key: ({ createdAt, estimate }) => createdAt + grace(estimate),
  reserves: (head, { guessedLeaseMs, unitsPassed }) => {
    // Limits are kept, so a reservation that counts on them costs little. One that counts on guesses empties GPUs for
    // nothing when they are wrong: it waits until the head has really been passed, and not by its neighbours in the
    // queue but by runs that came long after it, as leases go.
    const lagMs = Math.min(PATIENCE * guessedLeaseMs(), WEEK_MS);
    return lagMs === 0 || unitsPassed(head.createdAt + lagMs) >= head.units;
  },
};

const GRACE_FACTOR = 8;
const PATIENCE = 8;
const GRACE_OF_LIMITS_MS = 48 * HOUR_MS;
const GRACE_OF_GUESSES_MS = 24 * HOUR_MS;
const WEEK_MS = 7 * 24 * HOUR_MS;

function grace({ ms, guessed }: Estimate): number {
  return 1 / (1 / (GRACE_FACTOR * ms) + 1 / (guessed ? GRACE_OF_GUESSES_MS : GRACE_OF_LIMITS_MS));
}

const always = (): boolean => true;
const never = (): boolean => false;

export const PRODUCT_POLICY = DUE_DATE;

export const POLICIES: readonly Policy[] = [
  { name: 'fcfs', key: () => 0, reserves: never, strict: true },
  { name: 'greedy', key: () => 0, reserves: never },
  { name: 'easy', key: () => 0, reserves: always },
  { name: 'easy-shortest', key: ({ estimate }) => estimate.ms, reserves: always },
  { name: 'easy-smallest-area', key: ({ estimate, units }) => estimate.ms * units, reserves: always },
  {
    name: 'late-shortest',
    key: ({ estimate }) => estimate.ms,
    reserves: ({ waitedMs }) => waitedMs > 6 * HOUR_MS,
  },
  { name: 'expansion', key: expansion, reserves: always },
  { name: 'expansion-protected', key: protectedAfterDay(expansion), reserves: always },
  {
    name: 'shortest-protected',
    key: protectedAfterDay(({ estimate }) => estimate.ms),
    reserves: always,
  },
  DUE_DATE,
];

function expansion({ waitedMs, estimate }: PolicyView): number {
  return -(waitedMs + estimate.ms) / estimate.ms;
}

/** Runs that waited a day come first, oldest first. */
function protectedAfterDay(key: Policy['key']): Policy['key'] {
  return (run) => (run.waitedMs > 24 * HOUR_MS ? -Infinity : key(run));
}
