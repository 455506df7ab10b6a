/**
 * Signals, updates and queries of the run, cluster and node workflows: what clients and agents may say to them.
 * Built by hand and not with `defineSignal`, which would bring the whole workflow runtime into the CLI.
 */
import type { QueryDefinition, SignalDefinition, UpdateDefinition } from '@temporalio/common';
import type { CapacityRequest, ClusterNode, ClusterSnapshot, Lease, NodeInventory } from '../core/cluster.ts';
import type { RunTimeHistory } from '../core/estimates.ts';
import type { Priority } from '../core/priority.ts';
import type { Construction, SchedulingRequest } from '../core/run-spec.ts';
import type { Decision } from '../core/scheduler.ts';

const defineSignal = <Args extends unknown[]>(name: string) =>
  ({ type: 'signal', name }) as SignalDefinition<Args>;
const defineUpdate = <Result, Args extends unknown[] = []>(name: string) =>
  ({ type: 'update', name }) as UpdateDefinition<Result, Args>;
const defineQuery = <Result, Args extends unknown[] = []>(name: string) =>
  ({ type: 'query', name }) as QueryDefinition<Result, Args>;

// To a run.

/** An update, because `mcli run` waits for the answer: sent together with the start of the workflow. */
export const constructedUpdate = defineUpdate<Construction>('constructed');

export interface StopOrder {
  readonly by: string;
  readonly reason?: string;
}
/** A signal, because stopping takes as long as the container needs: nobody waits for an answer. */
export const stopSignal = defineSignal<[StopOrder]>('stop');

/** What an operator may change while a run is queued or running; what is absent stays. */
export interface SchedulingChange {
  readonly priority?: Priority;
  readonly preemptible?: boolean;
  readonly maxRetries?: number;
  readonly retryOnSystemFailure?: boolean;
  readonly maxDurationHours?: number;
}
/** An update, because the user waits for the answer: what is in force now. */
export const schedulingUpdate = defineUpdate<SchedulingRequest, [SchedulingChange]>('change-scheduling');

/**
 * The cluster was started anew and knows nothing: tell it again what this run wants or holds. All that it gives out from
 * now on has at least this fencing number.
 */
export const clusterRestartedSignal = defineSignal<[firstFence?: number]>('cluster-restarted');

export interface GrantedLease {
  readonly lease: Lease;
  /** Where the other ranks reach rank 0. */
  readonly masterAddress: string;
}
export const leaseGrantedSignal = defineSignal<[GrantedLease]>('lease-granted');

export interface Revocation {
  readonly run: string;
  readonly resumption: number;
  readonly type: 'NodeLost' | 'Preempted';
  /** The node that is lost or to be left; absent when a run gives way to another. */
  readonly node?: string;
  /** How long a lost node may still run its container, in milliseconds from now. Absent: no longer. */
  readonly leaseMs?: number;
  readonly message: string;
}
export const leaseRevokedSignal = defineSignal<[Revocation]>('lease-revoked');

// To a cluster. Signals only: a workflow takes 2,000 updates in all, and 10 at a time.

/** `held` restores a lease in a cluster that has lost its memory. */
export const requestCapacitySignal =
  defineSignal<[request: CapacityRequest, held?: Lease]>('request-capacity');
export interface Release {
  readonly run: string;
  readonly resumption: number;
  /** True when the command ended by itself: only then its time says something about the next one's. */
  readonly ranToEnd: boolean;
  /** The node that failed the run, and how: three times in a row, and nothing new starts there. */
  readonly nodeFailure?: { readonly node: string; readonly message: string };
}
export const releaseCapacitySignal = defineSignal<[Release]>('release-capacity');

export type NodeReport =
  | {
      readonly type: 'joined';
      readonly inventory: NodeInventory;
      /** As a cluster has had it kept, which counts where the cluster itself has lost its memory. */
      readonly cordon?: { readonly reason?: string };
    }
  | { readonly type: 'cordoned'; readonly node: string; readonly reason?: string }
  /** With the lease of the node, for a cluster that has lost its memory; null when it never lets go of its runs. */
  | { readonly type: 'lost'; readonly node: string; readonly leaseMs?: number | null }
  | { readonly type: 'uncordoned' | 'drained' | 'deleted'; readonly node: string };
export const nodeReportSignal = defineSignal<[NodeReport]>('node-report');

export interface ClusterView {
  readonly snapshot: ClusterSnapshot;
  /** Why each queued run waits, as of the last plan; in queue order. */
  readonly waiting: readonly QueuePosition[];
  /** What the cluster has learned of run times: whoever has this and the snapshot can plan as the cluster does. */
  readonly history: RunTimeHistory;
  /** How many runs are queued in all: more than `snapshot.queue` has when a page of it was asked for. */
  readonly queued: number;
}
/** A part of a queue: an answer to a query has 2 MB at most, which a queue of some thousand runs is larger than. */
export interface QueuePage {
  /** Only the page from 0 carries nodes, leases and history. */
  readonly from: number;
  readonly count: number;
}
/** Small, because `mcli run` asks every few seconds. */
export type QueuePosition = Extract<Decision, { type: 'WAIT' }>;
export const queuePositionQuery = defineQuery<QueuePosition | null, [run: string]>('queue-position');
export const clusterViewQuery = defineQuery<ClusterView, [page?: QueuePage]>('view');
/** Small, because every submission asks. */
export const clusterNodesQuery = defineQuery<readonly ClusterNode[]>('nodes');

// To a node.

/**
 * Sent by the agent with every start of its process: signal-with-start creates the node on first contact. `agent` names
 * the process: another one takes the node over at once, and not only when its predecessor's heartbeat has run out.
 */
export const registerNodeSignal = defineSignal<[NodeInventory, agent?: string]>('register');

/** What a cluster has decided of a node, and wants to be told again should it lose its memory. */
export type KeptOrder =
  | { readonly type: 'cordoned'; readonly reason?: string }
  /** A deleted node joins again with its next agent only. */
  | { readonly type: 'uncordoned' | 'deleted' };
export const keepOrderSignal = defineSignal<[KeptOrder]>('keep-order');

/** The cluster was started anew: report again. */
export const announceNodeSignal = defineSignal<[]>('announce');
