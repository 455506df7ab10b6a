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

/** How long a run is taken to run. */
export interface Estimate {
  /** Milliseconds. */
  readonly ms: number;
  /** True where no limit stands behind it. */
  readonly guessed: boolean;
}

/** The run's limit, which the platform keeps; without one a guess from its like. */
export function estimate(
  history: RunTimeHistory,
  request: RunLikeness & { readonly maxDurationMs?: number },
): Estimate {
  const limit = request.maxDurationMs;
  if (limit !== undefined) return { ms: Math.max(1, limit), guessed: false };
  return { ms: learnedRunTime(history, request) ?? UNKNOWN_RUN_TIME_MS, guessed: true };
}

/** What a run usually takes, milliseconds: most end well before their limit. Only for forecasts. */
export function usualRunTime(
  history: RunTimeHistory,
  request: RunLikeness & { readonly maxDurationMs?: number },
): number {
  const limit = request.maxDurationMs;
  return Math.min(learnedRunTime(history, request) ?? limit ?? UNKNOWN_RUN_TIME_MS, limit ?? Infinity);
}

/** The geometric mean of the latest run times of the most alike runs, milliseconds; undefined when none ever ran. */
export function learnedRunTime(history: RunTimeHistory, run: RunLikeness): number | undefined {
  for (const key of keysOf(run)) {
    const known = history.ranMs[key];
    if (known !== undefined) return geometricMean(known);
  }
  return undefined;
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
/** Taken for the first run of all: after that, the times of others say more. */
const UNKNOWN_RUN_TIME_MS = 24 * HOUR_MS;
const OVERRUN_STEPS_MS = [1 / 60, 5 / 60, 0.25, 0.5, 1, 2, 5, 10, 20, 50, 100].map(
  (hours) => hours * HOUR_MS,
);

/** Two thousand keys of five times are about 150 KB of JSON: what a cluster workflow may carry. */
const MAX_KEYS = 2_000;
const REMEMBERED = 5;
const ANYBODY = '\n';

/** From the most to the least alike. The separator cannot be part of a user or a name. */
function keysOf({ user, name, gpus }: RunLikeness): readonly string[] {
  return [`${user}\n${name}\n${gpus}`, `${user}\n${name}`, user, ANYBODY];
}

/** Run times span seconds to days: the arithmetic mean would be that of the longest alone. */
function geometricMean(times: readonly number[]): number {
  return Math.exp(times.reduce((sum, ms) => sum + Math.log(Math.max(1, ms)), 0) / times.length);
}

function forgetOldest(history: RunTimeHistory): void {
  for (const key in history.ranMs) {
    delete history.ranMs[key];
    history.keys -= 1;
    return;
  }
}
