/** A run as it is submitted to Temporal and as it answers: the outside of the run workflow. */
import type { FailureType } from './failures.ts';
import type { RunSpec } from './run-spec.ts';
import type { TerminalStatus } from './run-status.ts';

export interface RunInput {
  readonly spec: RunSpec;
  /** The file as submitted, with the overrides of the command line in it. */
  readonly submittedYaml: string;
  readonly user: string;
  /** From SIGTERM to SIGKILL when the run is stopped. */
  readonly graceMs: number;
}

export interface RunOutcome {
  readonly status: TerminalStatus;
  /** Absent when the command returned 0. */
  readonly failure?: FailureType;
  /** One sentence: why the run ended. */
  readonly message: string;
  readonly exitCode?: number;
}

export const DEFAULT_GRACE_MS = 30_000;
/** System failures in a row, of resumptions that did not run for long, after which a run is given up. */
export const MAX_SYSTEM_RETRIES = 10;
/** A command that ran for so long had a node that was well. */
export const LONG_RUN_MS = 3_600_000;
