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

/** The usual run time of the most alike runs, milliseconds; undefined when nobody ever ran. */
export function learnedRunTime({ ranMs }: RunTimeHistory, run: RunLikeness): number | undefined {
  for (const key of keysOf(run)) {
    const times = ranMs[key];
    if (times !== undefined) return geometricMean(times);
  }
  return undefined;
}

type Timed = RunLikeness & { readonly maxDurationMs?: number };

/** What a history says, each thing looked up once: a plan asks for thousands of runs, many of them alike. */
export class RunTimes {
  readonly #ranMs: RunTimeHistory['ranMs'];
  readonly #anybody: Estimate;
  readonly #users = new Map<string, Known>();

  constructor({ ranMs }: RunTimeHistory) {
    this.#ranMs = ranMs;
    this.#anybody = this.#guessFrom(ANYBODY) ?? { ms: UNKNOWN_RUN_TIME_MS, guessed: true };
  }

  /** The run's limit, which the platform keeps; without one a guess from its like. */
  estimate(run: Timed): Estimate {
    const limit = run.maxDurationMs;
    return limit === undefined ? this.#guess(run) : { ms: Math.max(1, limit), guessed: false };
  }

  /** What the run will usually take, milliseconds: most end well before their limit. Only for forecasts. */
  usualMs(run: Timed): number {
    return Math.min(this.#guess(run).ms, run.maxDurationMs ?? Infinity);
  }

  /** From the least to the most alike: where a user is unknown, no name and no size needs to be looked up. */
  #guess({ user, name, gpus }: RunLikeness): Estimate {
    let known = this.#users.get(user);
    if (known === undefined) {
      this.#users.set(user, (known = { guess: this.#guessFrom(userKey(user)), names: new Map() }));
    }
    if (known.guess === undefined) return this.#anybody;
    let named = known.names.get(name);
    if (named === undefined) {
      known.names.set(name, (named = { guess: this.#guessFrom(nameKey(user, name)), sizes: new Map() }));
    }
    if (named.guess === undefined) return known.guess;
    let sized = named.sizes.get(gpus);
    if (sized === undefined) {
      named.sizes.set(gpus, (sized = this.#guessFrom(sizeKey(user, name, gpus)) ?? named.guess));
    }
    return sized;
  }

  #guessFrom(key: string): Estimate | undefined {
    const times = this.#ranMs[key];
    return times && { ms: geometricMean(times), guessed: true };
  }
}

interface Known {
  readonly guess: Estimate | undefined;
  readonly names: Map<
    string,
    { readonly guess: Estimate | undefined; readonly sizes: Map<number, Estimate> }
  >;
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
/** Every key holds a line break, which no name has and no integer, so that JSON keeps their order. */
const sizeKey = (user: string, name: string, gpus: number): string => `${user}\n${name}\n${gpus}`;
const nameKey = (user: string, name: string): string => `${user}\n${name}`;
const userKey = (user: string): string => `\n${user}`;
const ANYBODY = '\n\n';

/** The least alike last: they are forgotten last, so that whatever is known of a size is known of its user too. */
function keysOf({ user, name, gpus }: RunLikeness): readonly string[] {
  return [sizeKey(user, name, gpus), nameKey(user, name), userKey(user), ANYBODY];
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
