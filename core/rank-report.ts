/** What is known of a rank while its command runs: details of the heartbeats of `execute`. */
import type { RunProgress } from './progress.ts';
import type { RankUsage } from './usage.ts';

export interface RankReport {
  readonly rank: number;
  readonly node: string;
  /** Absent until the run reports something. */
  readonly progress?: RunProgress;
  /** Absent until the first sample. */
  readonly usage?: RankUsage;
  /** How much of the progress file is in `progress`: where the next agent goes on. */
  readonly progressBytes: number;
}
