/**
 * The metrics of a run on their way to MLflow while it runs, so that its curves grow there. Only a courtesy: the run
 * waits for nothing of it, what cannot be sent is dropped, oldest first, and the report at the end has the last values.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { containerName } from '../core/naming.ts';
import type { Metric } from '../core/progress.ts';
import { withStep } from '../core/tracking-report.ts';
import type { Sampled } from '../core/tracking-report.ts';
import { trackersOf } from '../core/tracking.ts';
import type { Variables } from '../core/tracking.ts';
import type { RankExecution } from './contract.ts';
import { createMlflow } from './mlflow.ts';
import type { Mlflow, MlflowRun } from './mlflow.ts';
import { entryOf, findEntry, startedEntry, withEntry } from './mlflow-entry.ts';
import { mlflowServer, NoMlflowServer } from './mlflow-server.ts';

export interface MetricFeed {
  /** Undefined of a run that is not in MLflow. */
  begin(input: RankExecution): RankFeed | undefined;
}

export interface RankFeed {
  add(metrics: readonly (Metric | Sampled)[]): void;
  /** What is left is still sent. */
  end(): void;
}

interface Dependencies {
  readonly variablesOf: (input: RankExecution, signal: AbortSignal) => Promise<Variables>;
  /** How often metrics are sent, in milliseconds; all other times follow from it. */
  readonly intervalMs?: number;
}

const INTERVAL_MS = 5_000;
/** In intervals. A tracker that is away is not asked as often. */
const RETRY_INTERVALS = 12;
/**
 * In intervals. MLflow was away when the run began, so that the program was not told of an entry: one that logs by itself
 * makes its own, mostly as one of the first things that it does. That is found; a second would stand beside it.
 */
const MAKE_AFTER_INTERVALS = 60;
/** When the rank has ended. By the second, the report of the end has made the entry that was missing. */
const LAST_TRIES = 3;
const REQUEST_MS = 20_000;
/** Of one rank: an hour of a run that logs three metrics a second. */
const MAX_WAITING = 10_000;

export function createMetricFeed({ variablesOf, intervalMs = INTERVAL_MS }: Dependencies): MetricFeed {
  return {
    begin(input) {
      if (input.tracking === undefined || !trackersOf(input.spec).includes('mlflow')) return undefined;
      const sender = new Sender(input, variablesOf, intervalMs);
      void sender.send();
      return sender;
    },
  };
}

/** Where the metrics of a rank go. */
interface Place {
  readonly mlflow: Mlflow;
  readonly entry: MlflowRun;
}

class Sender implements RankFeed {
  readonly #input: RankExecution;
  readonly #variablesOf: Dependencies['variablesOf'];
  readonly #intervalMs: number;
  readonly #beganAt = Date.now();
  readonly #ended = new AbortController();
  #waiting: (Metric | Sampled)[] = [];
  #place: Place | undefined;
  #isOver = false;
  #hasSaid = false;

  constructor(input: RankExecution, variablesOf: Dependencies['variablesOf'], intervalMs: number) {
    this.#input = input;
    this.#variablesOf = variablesOf;
    this.#intervalMs = intervalMs;
  }

  add(metrics: readonly (Metric | Sampled)[]): void {
    if (this.#isOver) return;
    this.#waiting.push(...metrics);
    // Not for each that comes: all that stay are moved.
    if (this.#waiting.length > 2 * MAX_WAITING) this.#waiting = this.#waiting.slice(-MAX_WAITING);
  }

  end(): void {
    this.#ended.abort();
  }

  async send(): Promise<void> {
    const { signal } = this.#ended;
    const retryMs = RETRY_INTERVALS * this.#intervalMs;
    let waitMs = this.#intervalMs;
    for (let lastTries = LAST_TRIES; lastTries > 0 && !this.#isOver;) {
      await sleep(waitMs, undefined, signal.aborted ? {} : { signal }).catch(() => undefined);
      if (signal.aborted) lastTries -= 1;
      try {
        const isTaken = this.#waiting.length === 0 || (await this.#sendWaiting());
        // More may have come meanwhile.
        this.#isOver = signal.aborted && this.#waiting.length === 0;
        // Who refuses one thing may refuse everything, and is not asked too often.
        waitMs = isTaken ? this.#intervalMs : retryMs;
      } catch (error) {
        this.#isOver = error instanceof NoMlflowServer;
        if (waitMs !== retryMs) this.#say(`wait: ${String(error)}`);
        waitMs = retryMs;
      }
    }
    this.#waiting = [];
  }

  /** False when something was refused, or there is no entry yet. */
  async #sendWaiting(): Promise<boolean> {
    this.#place ??= await this.#find();
    if (this.#place === undefined) return false;
    const { mlflow, entry } = this.#place;
    const batch = this.#waiting;
    this.#waiting = [];
    try {
      const metrics = batch.map((metric) => withStep(metric, Number(entry.info.start_time ?? 0)));
      const refusal = await mlflow.log(entry.info.run_id, { metrics });
      if (refusal !== undefined && !this.#hasSaid) this.#say(`are left out in part: ${refusal}`);
      this.#hasSaid ||= refusal !== undefined;
      return refusal === undefined;
    } catch (error) {
      this.#waiting = [...batch, ...this.#waiting];
      throw error;
    }
  }

  async #find(): Promise<Place | undefined> {
    const input = this.#input;
    const variables = await this.#variablesOf(input, AbortSignal.timeout(REQUEST_MS));
    const mlflow = createMlflow(mlflowServer(variables), REQUEST_MS);
    const known = withEntry(variables, input.tracking?.environment['MLFLOW_RUN_ID']);
    const entry = this.#mayMake()
      ? await entryOf(mlflow, known, startedEntry(input, this.#beganAt))
      : await findEntry(mlflow, known, input.run);
    return entry && { mlflow, entry };
  }

  /** One of its ranks; and not when the run has ended, since the report makes the entry then. */
  #mayMake(): boolean {
    const waitedMs = Date.now() - this.#beganAt;
    return (
      this.#input.rank === 0 &&
      !this.#ended.signal.aborted &&
      waitedMs >= MAKE_AFTER_INTERVALS * this.#intervalMs
    );
  }

  #say(words: string): void {
    console.error(`Metrics of ${containerName(this.#input)} ${words}`);
  }
}
