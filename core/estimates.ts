/**
 * How long a run will take: learned from earlier runs of the same user, name and size, bounded by its time limit.
 * Only guesses come from here. The scheduler has to stay fair when they are wrong.
 */

/** Run times by user, name and size: plain JSON, at most `MAX_KEYS` keys, least recently used first. */
export interface RunTimeHistory {
  /** The latest run times of each key in milliseconds, oldest first. */
  readonly ranMs: Record<string, readonly number[]>;
  /** How many keys `ranMs` holds: counting them on every change would cost more than the change. */
  keys: number;
}

/** What makes runs alike. */
export interface RunLikeness {
  readonly user: string;
  readonly name: string;
  readonly gpus: number;
}

export function emptyHistory(): RunTimeHistory {
  return { ranMs: {}, keys: 0 };
}

/** Remembers how long a run ran. Changes `history` in place: the workflow that owns it carries it onwards. */
export function learn(history: RunTimeHistory, run: RunLikeness, ranMs: number): void {
  for (const key of keysOf(run)) {
    const known = history.ranMs[key];
    if (known === undefined) history.keys += 1;
    // Deleting and adding again moves the key to the end: the first key is the least recently used.
    delete history.ranMs[key];
    history.ranMs[key] = [...(known ?? []), Math.round(ranMs)].slice(-REMEMBERED);
  }
  while (history.keys > MAX_KEYS) forgetOldest(history);
}

/** The expected run time in milliseconds, before any limit; undefined where nothing alike has ever run. */
export function learnedRunTime(history: RunTimeHistory, run: RunLikeness): number | undefined {
  for (const key of keysOf(run)) {
    const known = history.ranMs[key];
    if (known !== undefined) return known.reduce((sum, ms) => sum + ms, 0) / known.length;
  }
  return undefined;
}

/** Assumed where nothing is known at all: long enough that such a run does not pass others as a short one. */
export const UNKNOWN_RUN_TIME_MS = 24 * 3_600_000;

/** The expected run time in milliseconds: learned where possible, never above the run's limit. */
export function estimate(
  history: RunTimeHistory,
  request: RunLikeness & { readonly maxDurationMs?: number },
): number {
  const limit = request.maxDurationMs ?? Infinity;
  const learned = learnedRunTime(history, request);
  return Math.max(1, Math.min(learned ?? UNKNOWN_RUN_TIME_MS, limit));
}

/**
 * How long a run that has run for `elapsedMs` is expected to take in all. An estimate that was outlived grows by ever
 * larger steps: left at "ends now", one overrun would freeze everything that is planned around its end.
 */
export function outlived(estimateMs: number, elapsedMs: number): number {
  let total = estimateMs;
  for (let step = 0; total <= elapsedMs; step++) {
    total += OVERRUN_STEPS_MS[Math.min(step, OVERRUN_STEPS_MS.length - 1)] ?? HOUR_MS;
  }
  return total;
}

const HOUR_MS = 3_600_000;
const OVERRUN_STEPS_MS = [1 / 60, 5 / 60, 0.25, 0.5, 1, 2, 5, 10, 20, 50, 100].map(
  (hours) => hours * HOUR_MS,
);

/** Two thousand keys of five times are about 150 KB of JSON: what a cluster workflow may carry. */
const MAX_KEYS = 2_000;
const REMEMBERED = 5;

/** From the most to the least alike. The separator cannot be part of a user or a name. */
function keysOf({ user, name, gpus }: RunLikeness): readonly string[] {
  return [`${user}\n${name}\n${gpus}`, `${user}\n${name}`, user];
}

function forgetOldest(history: RunTimeHistory): void {
  for (const key in history.ranMs) {
    delete history.ranMs[key];
    history.keys -= 1;
    return;
  }
}
