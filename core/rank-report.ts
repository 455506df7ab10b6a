/** What is known of a rank while its command runs, and when it has ended. */
import type { RunProgress } from './progress.ts';
import type { RankUsage } from './usage.ts';

export interface RankReport {
  readonly rank: number;
  readonly node: string;
  /** Absent until the run reports something. */
  readonly progress?: RunProgress;
  /** Absent until the first sample. */
  readonly usage?: RankUsage;
}

/** Details of the heartbeats of `execute`. */
export interface RankHeartbeat extends RankReport {
  /** How much of the progress file is in `progress`: where the next agent goes on. */
  readonly progressBytes: number;
}

/** What a run says of itself: its first rank that counts steps, or else the first that says anything. */
export function progressOf(reports: readonly RankReport[]): RunProgress | undefined {
  const all = reports
    .toSorted((a, b) => a.rank - b.rank)
    .flatMap(({ progress }) => (progress ? [progress] : []));
  return all.find(({ step }) => step !== undefined) ?? all[0];
}
