/**
 * What the run, cluster and node workflows ask of the outside world, as types: the workflows import nothing else of
 * this folder. The names are what people read in the history and in the Web UI.
 */
import type { CapacityRequest, Lease, RankPlacement } from '../core/cluster.ts';
import type { PackedCluster } from '../core/cluster-state.ts';
import type { ProgramExit } from '../core/failures.ts';
import type { RankRef } from '../core/naming.ts';
import type { RankReport } from '../core/rank-report.ts';
import type { Construction, RunSpec } from '../core/run-spec.ts';
import type { OpenedTrackers, RunEnd, TrackerEntry } from '../core/tracking.ts';
import type { GrantedLease, KeptOrder, NodeReport, Release, Revocation } from '../workflows/messages.ts';

/** One rank of one resumption on its node. */
export interface RankAssignment extends RankRef {
  readonly cluster: string;
  readonly node: string;
  readonly fence: number;
  readonly gpuIds: readonly number[];
}

/** Everything a node needs to run its rank. */
export interface RankExecution extends RankAssignment {
  /** Whose secrets the run gets. */
  readonly user: string;
  readonly spec: RunSpec;
  readonly numNodes: number;
  /** GPUs of this rank's node. */
  readonly localWorldSize: number;
  /** GPUs of the run. */
  readonly worldSize: number;
  readonly masterAddress: string;
  /** From SIGTERM to SIGKILL when the run is stopped. */
  readonly graceMs: number;
  /** Absent of a run without trackers. */
  readonly tracking?: OpenedTrackers;
}

export interface PulledImage {
  readonly imageId: string;
  /** Bytes that came over the network; 0 when every layer was there. */
  readonly downloadedBytes: number;
}

/** Heartbeat details of `pull-image`; `totalBytes` grows while the registry names more layers. */
export interface PullProgress {
  readonly downloadedBytes: number;
  readonly totalBytes: number;
  readonly layersDone: number;
  readonly layersTotal: number;
}

/** How a container ended that nobody of the platform had told to stop. */
export interface ContainerExit extends ProgramExit, Pick<RankReport, 'progress' | 'usage'> {
  /** ISO 8601, from Docker. */
  readonly startedAt: string;
  readonly finishedAt: string;
}

/** How a container that was told to stop ended. */
export interface ContainerStop {
  readonly endedBy: 'not-running' | 'SIGTERM' | 'SIGKILL';
  /** From the order to the end of the container; absent when it did not run. */
  readonly afterMs?: number;
}

/** Served by the agent of one node, on that node's own task queue. */
export interface NodeActivities {
  /** Fails with an image failure of `core/failures.ts`. Heartbeats `PullProgress`. */
  'pull-image'(
    input: RankAssignment & { readonly image: string; readonly user: string },
  ): Promise<PulledImage>;
  /** Creates the container, if it is not there yet, and runs the integrations in it. Fails with IntegrationFailed. */
  integrations(input: RankExecution): Promise<void>;
  /**
   * Runs the command to its end and ships its log. Attaches to the container when it already runs. A non-zero exit is
   * a result; failures are Docker's. When cancelled, stops the container (SIGTERM, grace, SIGKILL); the details of the
   * cancellation are `ContainerStop` and `RankReport`. Heartbeats `RankHeartbeat`.
   */
  execute(input: RankExecution): Promise<ContainerExit>;
  /**
   * SIGTERM, grace, SIGKILL. A container that is not there or does not run is left as it is; what still runs of it
   * behind Docker's back is killed.
   */
  'stop-container'(input: RankAssignment & { readonly graceMs: number }): Promise<ContainerStop>;
  /** Stops the container if it runs, drains and closes its log, removes it. Idempotent. */
  'remove-container'(input: RankAssignment & { readonly graceMs: number }): Promise<ContainerStop>;
  /**
   * Finds or makes the run's entries in its trackers, for rank 0 and with its secrets, within seconds. Does not fail:
   * what did not work is in the answer.
   */
  'open-trackers'(input: RankExecution): Promise<OpenedTrackers>;
  /** Tells MLflow how a run has ended that is over. Fails with TrackerSilent, to be repeated. Idempotent. */
  'report-run'(input: { readonly run: string }): Promise<readonly TrackerEntry[]>;
  /**
   * Starts the container of rank 0 once more, for a minute at most, where the libraries of the other trackers tell them
   * how the run ends. One that is not there any more is left alone.
   */
  'report-in-container'(input: RankExecution & { readonly end: RunEnd }): Promise<readonly TrackerEntry[]>;
  /** Runs as long as the node is in service: its heartbeat is the node's. */
  'serve-node'(input: { readonly cluster: string; readonly node: string }): Promise<void>;
}

/** Served by the control worker. */
export interface ControlActivities {
  construct(input: { readonly spec: RunSpec }): Promise<Construction>;
  /** Hands the request to the cluster; the grant comes as a signal. `held` is the lease that the run has already. */
  'wait-for-capacity'(input: {
    readonly cluster: string;
    readonly request: CapacityRequest;
    readonly held?: Lease;
  }): Promise<void>;
  /** Gives the capacity back, or withdraws the request. */
  complete(input: Release & { readonly cluster: string }): Promise<void>;
}

/** What a cluster tells a run, or a node to keep for it. */
export type ClusterNotice =
  | { readonly type: 'granted'; readonly grant: GrantedLease }
  | { readonly type: 'revoked'; readonly revocation: Revocation }
  | { readonly type: 'node'; readonly cluster: string; readonly node: string; readonly order: KeptOrder };

/** Who gets capacity and who gives way, by name: what the planner decided. */
export interface Plan {
  readonly admissions: readonly {
    readonly run: string;
    readonly resumption: number;
    readonly ranks: readonly RankPlacement[];
  }[];
  readonly preemptions: readonly {
    readonly run: string;
    readonly resumption: number;
    readonly inFavourOf: string;
  }[];
}

/** How a cluster stands at the beginning of a round. */
export interface RoundStart {
  /** How many messages it has had. */
  readonly messages: number;
  /** Absent when nothing may be given out or taken back. */
  readonly cluster?: PackedCluster;
  /** True when nobody holds or wants anything. */
  readonly isIdle: boolean;
  readonly hasNotices: boolean;
  readonly isTimerSet: boolean;
  readonly isSweepDue: boolean;
}

/** What a round does: everything that the cluster does next follows from this record. */
export interface Round extends Plan {
  /** How many messages the round knows. */
  readonly messages: number;
  readonly notifies: boolean;
  readonly setsTimer: boolean;
  readonly sweeps: boolean;
}

/** Served by the cluster worker. */
export interface ClusterActivities {
  /**
   * What to do at `now` (epoch milliseconds). A local activity, so that the answer is recorded: a cluster that is years
   * old goes on under every later planner.
   */
  plan(input: { readonly cluster: PackedCluster; readonly now: number }): Promise<Plan>;
  /** The same, and what else there is to do. */
  'next-round'(input: { readonly start: RoundStart; readonly now: number }): Promise<Round>;
  /** Signals runs and nodes, many at once; answers with the runs that cannot be told, since they no longer exist. */
  'notify-runs'(input: { readonly notices: readonly ClusterNotice[] }): Promise<readonly string[]>;
  /**
   * Of the runs named, those that have ended without giving their capacity back.
   * @param queued runs among them that hold nothing yet
   */
  'find-ended-runs'(input: {
    readonly runs: readonly string[];
    readonly queued?: readonly string[];
  }): Promise<readonly string[]>;
  /**
   * Asks nodes and runs of a cluster that has lost its memory to tell it again; answers with the runs, and before
   * `names` was asked for, with their number.
   */
  recall(input: {
    readonly cluster: string;
    readonly nextFence?: number;
    readonly names?: true;
  }): Promise<number | readonly string[]>;
  /** Tells the cluster that a node is there or is lost; the first node of a cluster starts its workflow. */
  'report-node'(input: { readonly cluster: string; readonly report: NodeReport }): Promise<void>;
}
