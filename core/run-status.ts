/**
 * The statuses of a run, spelled as mcli spells them, and the moves between them.
 * A run's status is the status of its newest resumption.
 */
export const RUN_STATUSES = [
  'PENDING',
  'QUEUED',
  'STARTING',
  'RUNNING',
  'TERMINATING',
  'COMPLETED',
  'STOPPED',
  'FAILED',
] as const;
export type RunStatus = (typeof RUN_STATUSES)[number];

export const TERMINAL_STATUSES = ['COMPLETED', 'STOPPED', 'FAILED'] as const satisfies readonly RunStatus[];
export type TerminalStatus = (typeof TERMINAL_STATUSES)[number];

/**
 * Which status may follow which. TERMINATING → QUEUED is a new resumption: a retry after a system failure or a
 * preemption, which the status of the run passes through without a terminal status of its own.
 */
export const STATUS_TRANSITIONS = {
  PENDING: ['QUEUED', 'TERMINATING', 'STOPPED', 'FAILED'],
  QUEUED: ['STARTING', 'TERMINATING', 'STOPPED', 'FAILED'],
  STARTING: ['RUNNING', 'TERMINATING'],
  RUNNING: ['TERMINATING'],
  TERMINATING: ['QUEUED', 'COMPLETED', 'STOPPED', 'FAILED'],
  COMPLETED: [],
  STOPPED: [],
  FAILED: [],
} as const satisfies Record<RunStatus, readonly RunStatus[]>;

export function isTerminal(status: RunStatus): status is TerminalStatus {
  return (TERMINAL_STATUSES as readonly RunStatus[]).includes(status);
}

/** `RUNNING` → `Running`, as tables show it. */
export function displayStatus(status: RunStatus): string {
  return status.charAt(0) + status.slice(1).toLowerCase();
}
