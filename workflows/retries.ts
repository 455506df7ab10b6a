/** Whether another resumption follows a failure, and after how long: counted over the whole life of a run. */
import { patched, workflowInfo } from '@temporalio/workflow';
import { failureClass } from '../core/failures.ts';
import type { RunFailure } from '../core/failures.ts';
import { LONG_RUN_MS, MAX_SYSTEM_RETRIES } from '../core/run.ts';
import type { SchedulingRequest } from '../core/run-spec.ts';

/** Of 51,200 and 50 MB: a resumption of many ranks takes some thousand events, and twice its file for each rank. */
const MAX_HISTORY_EVENTS = 40_000;
const MAX_HISTORY_BYTES = 30 * 1024 ** 2;

export class Retries {
  /** True when no further resumption fits in the history. */
  isExhausted = false;
  private system = 0;
  private user = 0;

  /**
   * Counts the failure, and tells whether another resumption follows it.
   * @param runsSince when the command of the resumption that failed was started, in epoch milliseconds
   */
  allow(failure: RunFailure, scheduling: SchedulingRequest, runsSince: number | undefined): boolean {
    if (!this.isWorthAnother(failure, scheduling, runsSince)) return false;
    this.isExhausted = isHistoryFull();
    return !this.isExhausted;
  }

  /** How long the next resumption waits. A run that gives way keeps its place in the queue. */
  pauseMs(failure: RunFailure | undefined): number {
    const earlierBuilds = backoffMs(this.system);
    const retries = { system: this.system, user: this.user, order: 0 };
    const ms = backoffMs(failure ? retries[failureClass(failure.type).blame] : 0);
    return ms !== earlierBuilds && patched('back-off-by-blame') ? ms : earlierBuilds;
  }

  private isWorthAnother(
    { type }: RunFailure,
    { retryOnSystemFailure, maxRetries }: SchedulingRequest,
    runsSince: number | undefined,
  ): boolean {
    if (type === 'Preempted') return true;
    if (failureClass(type).blame === 'system') {
      if (this.ranLong(runsSince)) this.system = 0;
      this.system += 1;
      return retryOnSystemFailure && this.system <= MAX_SYSTEM_RETRIES;
    }
    this.user += 1;
    return this.user <= maxRetries;
  }

  /** Over months, nodes may be lost more often than ever in a row. */
  private ranLong(runsSince: number | undefined): boolean {
    if (runsSince === undefined || this.system === 0) return false;
    return Date.now() - runsSince >= LONG_RUN_MS && patched('long-runs-are-healthy');
  }
}

/** Temporal ends a workflow whose history is too long, without a chance to stop anything: this run ends before. */
function isHistoryFull(): boolean {
  const { historyLength, historySize } = workflowInfo();
  const isFull = historyLength > MAX_HISTORY_EVENTS || historySize > MAX_HISTORY_BYTES;
  return isFull && patched('history-limit');
}

/** A first failure is retried at once; what keeps failing is not hammered. */
function backoffMs(retries: number): number {
  return retries <= 1 ? 0 : Math.min(60_000, 5_000 * 2 ** (retries - 2));
}
