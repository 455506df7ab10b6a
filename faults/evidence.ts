/**
 * What the checker judges by: plain data. About containers and their output it comes from Docker and from the kernel,
 * about what was promised from Temporal's raw histories, about logs from what `mcli logs` gives to people. All times
 * are epoch milliseconds of one machine.
 */
import type { FaultKind } from './fault-kinds.ts';
import type { Priority } from './plan.ts';
import type { Program, RankName } from './program.ts';

export interface Evidence {
  readonly seed: number;
  /** When the watching ended. */
  readonly until: number;
  readonly nodes: readonly NodeFacts[];
  readonly orders: readonly RunOrder[];
  /** Names of the orders that ask for all capacity at once, when all others have ended. */
  readonly probes: readonly string[];
  readonly executions: readonly Execution[];
  readonly containers: readonly ContainerLife[];
  readonly leases: readonly LeaseTime[];
  readonly logs: readonly RankLog[];
  readonly follows: readonly FollowedLog[];
  readonly reads: readonly ReadLog[];
  readonly silences: readonly Silence[];
  readonly losses: readonly NodeLoss[];
  readonly faults: readonly Fault[];
  /** Kinds of faults that were planned and found nothing to hit. */
  readonly skipped: readonly FaultKind[];
}

export interface NodeFacts {
  readonly name: string;
  readonly gpus: number;
  readonly cpuSlots: number;
}

/** A run as the suite ordered it, under a name that no other has. */
export interface RunOrder {
  /** The submitted name: a run's own is this, a dash and a suffix. */
  readonly name: string;
  readonly program: Program;
  readonly ranks: number;
  /** Of all ranks together. */
  readonly gpus: number;
  readonly priority: Priority;
  readonly preemptible: boolean;
  /** How the program's failures are answered. */
  readonly maxRetries: number;
  readonly hasTimeLimit: boolean;
  /** Own name of the run that mcli said it had submitted. */
  readonly accepted: readonly string[];
  /** How often mcli was asked to submit it and did not say so: the run may be there all the same. */
  readonly unanswered: number;
  /** Own names of the runs that mcli was told to stop, and when it was told so first. */
  readonly stops: Readonly<Record<string, number>>;
}

/** A workflow execution of the type of runs. */
export interface Execution {
  readonly run: string;
  readonly executionId: string;
  readonly startedAt: number;
  readonly steps: readonly Step[];
  /** Absent while it is open. */
  readonly closed?: Closing;
}

/** A status as the run showed it. */
export interface Step {
  readonly at: number;
  readonly status: string;
  readonly reason: string;
  readonly resumption: number;
  /** The sentence for people; empty when nothing went wrong. */
  readonly message: string;
}

export interface Closing {
  readonly at: number;
  /** Refused: construction said no, and nothing ran. */
  readonly type: 'ended' | 'refused' | 'terminated';
  /** As the result says it. */
  readonly status?: string;
  readonly exitCode?: number;
}

export interface ContainerLife extends RankName {
  readonly id: string;
  /** Whose Docker had it. */
  readonly node: string;
  readonly fence: number;
  /** As it is labelled. */
  readonly gpuIds: readonly number[];
  readonly startedAt: number;
  /** The last moment at which it certainly lived. */
  readonly aliveUntil: number;
  /** Absent when nobody saw it. */
  readonly exitCode?: number;
  /** What Docker gave the checker of its output: in order, perhaps without the end. One byte per character. */
  readonly seen: string;
}

/** From the cluster's history. Times are the server's; what followed what for the cluster, only its events tell. */
export interface LeaseTime {
  readonly run: string;
  readonly resumption: number;
  readonly fence: number;
  readonly ranks: readonly { readonly node: string; readonly gpuIds: readonly number[] }[];
  readonly grantedAt: number;
  /** Number of the event, counted over all executions of the cluster. */
  readonly grantedEvent: number;
  /** Absent while it is held. */
  readonly endedAt?: number;
  readonly endedEvent?: number;
}

/** What the log stream has of one rank of one resumption. One byte per character. */
export interface RankLog extends RankName {
  readonly text: string;
  /** For each whole line, when Docker got it. */
  readonly times: readonly number[];
}

/** What `mcli logs` printed in the end. */
export interface Printed {
  readonly text: string;
  readonly exitCode: number | null;
  /** What it said beside. */
  readonly errors: string;
}

/** With `--follow`, of a run of one rank, from its submission on. */
export interface FollowedLog extends Printed {
  readonly run: string;
}

/** With `--resumption`, when all was over. */
export interface ReadLog extends Printed, RankName {}

/** From one sign of a node's agent that the server had to the next, where that is long. */
export interface Silence {
  readonly node: string;
  readonly from: number;
  readonly to: number;
}

/** That a node was given up by its workflow. */
export interface NodeLoss {
  readonly node: string;
  readonly at: number;
  /** When the cluster heard of it: it takes back what it had given by then. */
  readonly heardAt: number;
  /** Number of the event, as for leases. */
  readonly heardEvent: number;
}

export interface Fault {
  readonly kind: FaultKind;
  /** Node, or the run whose container was killed. */
  readonly target: string;
  readonly at: number;
  /** When the disturbance was taken away; for what is only killed the same as `at`. */
  readonly mendedAt: number;
  /** The container that was killed. */
  readonly container?: string;
  /** True when Docker died before it could say whether it had killed it. */
  readonly isUncertain?: boolean;
  /** When what was disturbed was well again; absent when it was not seen to be. */
  readonly wellAt?: number;
  /** The same for Docker alone, where other things were hit, too. */
  readonly dockerWellAt?: number;
}
