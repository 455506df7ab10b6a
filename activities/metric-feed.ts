/**
 * The metrics of a run on their way to MLflow while it runs, so that its curves grow there. Only a courtesy: the run
 * waits for nothing of it, what cannot be sent is dropped, oldest first, and the report at the end has the last values.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { containerName } from '../core/naming.ts';
import type { Metric } from '../core/tracking-report.ts';
import type { Variables } from '../core/tracking.ts';
import type { RankExecution } from './contract.ts';
import type { Mlflow } from './mlflow.ts';
import { createMlflow } from './mlflow.ts';
import { mlflowServer } from './mlflow-server.ts';

export interface MetricFeed {
  /** Undefined of a run that has no entry. */
  begin(input: RankExecution): RankFeed | undefined;
}

export interface RankFeed {
  add(metrics: readonly Metric[]): void;
  /** What is left is sent once more. */
  end(): void;
}

interface Dependencies {
  readonly variablesOf: (input: RankExecution, signal: AbortSignal) => Promise<Variables>;
  /** How often metrics are sent, in milliseconds. */
  readonly intervalMs?: number;
}

const INTERVAL_MS = 5_000;
/** A tracker that is away is not asked as often. */
const RETRY_MS = 60_000;
const REQUEST_MS = 20_000;
/** Of one rank: an hour of a run that logs three metrics a second. */
const MAX_WAITING = 10_000;

export function createMetricFeed({ variablesOf, intervalMs = INTERVAL_MS }: Dependencies): MetricFeed {
  return {
    begin(input) {
      // A run that names its entry itself is not in what was opened.
      const runId = input.spec.envVariables['MLFLOW_RUN_ID'] ?? input.tracking?.environment['MLFLOW_RUN_ID'];
      if (input.tracking === undefined || !runId) return undefined;
      const waiting: Metric[] = [];
      const ending = new AbortController();
      void send(input, runId, waiting, ending.signal);
      return {
        add(metrics) {
          waiting.push(...metrics);
          if (waiting.length > MAX_WAITING) waiting.splice(0, waiting.length - MAX_WAITING);
        },
        end: () => ending.abort(),
      };
    },
  };

  async function send(
    input: RankExecution,
    runId: string,
    waiting: Metric[],
    ended: AbortSignal,
  ): Promise<void> {
    let mlflow: Mlflow | undefined;
    let waitMs = intervalMs;
    let hasSaid = false;
    for (let last = false; !last;) {
      await sleep(waitMs, undefined, { signal: ended }).catch(() => undefined);
      last = ended.aborted;
      if (waiting.length === 0) continue;
      const batch = waiting.slice();
      try {
        mlflow ??= await connect(input);
        const refusal = await mlflow.log(runId, { metrics: batch });
        if (refusal !== undefined && !hasSaid) {
          hasSaid = true;
          console.error(`Some metrics of ${containerName(input)} are left out: ${refusal}`);
        }
        // More may have come, and dropped some of these.
        waiting.splice(0, waiting.length, ...waiting.slice(waiting.indexOf(batch.at(-1) as Metric) + 1));
        // Who refuses one thing may refuse everything, and is not asked too often.
        waitMs = refusal === undefined ? intervalMs : RETRY_MS;
      } catch (error) {
        if (waitMs !== RETRY_MS) console.error(`Metrics of ${containerName(input)} wait: ${String(error)}`);
        waitMs = RETRY_MS;
      }
    }
  }

  async function connect(input: RankExecution): Promise<Mlflow> {
    const variables = await variablesOf(input, AbortSignal.timeout(REQUEST_MS));
    return createMlflow(mlflowServer(variables), REQUEST_MS);
  }
}
