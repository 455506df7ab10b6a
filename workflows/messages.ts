/**
 * Signals, updates and queries of the run, cluster and node workflows: what clients and agents may say to them.
 * Built by hand and not with `defineSignal`, which would bring the whole workflow runtime into the CLI.
 */
import type { QueryDefinition, SignalDefinition, UpdateDefinition } from '@temporalio/common';
import type { Construction } from '../activities/contract.ts';
import type { CapacityRequest, ClusterSnapshot, Lease, NodeInventory } from '../core/cluster.ts';
import type { Decision } from '../core/scheduler.ts';

const defineSignal = <Args extends unknown[]>(name: string) =>
  ({ type: 'signal', name }) as SignalDefinition<Args>;
const defineUpdate = <Result>(name: string) => ({ type: 'update', name }) as UpdateDefinition<Result>;
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

export interface GrantedLease {
  readonly lease: Lease;
  /** Where the other ranks reach rank 0. */
  readonly masterAddress: string;
}
export const leaseGrantedSignal = defineSignal<[GrantedLease]>('lease-granted');

export interface Revocation {
  readonly run: string;
  readonly resumption: number;
  readonly fence: number;
  readonly type: 'NodeLost' | 'Preempted';
  readonly message: string;
}
export const leaseRevokedSignal = defineSignal<[Revocation]>('lease-revoked');

// To a cluster. Signals only: a workflow takes 2,000 updates in all, and 10 at a time.

export const requestCapacitySignal = defineSignal<[CapacityRequest]>('request-capacity');
export const releaseCapacitySignal =
  defineSignal<[{ readonly run: string; readonly resumption: number }]>('release-capacity');

export type NodeReport =
  | { readonly type: 'joined'; readonly inventory: NodeInventory }
  | { readonly type: 'lost'; readonly node: string };
export const nodeReportSignal = defineSignal<[NodeReport]>('node-report');

export interface ClusterView {
  readonly snapshot: ClusterSnapshot;
  /** Why each queued run waits, as of the last plan. */
  readonly waiting: readonly QueuePosition[];
}
/** Small, because `mcli run` asks every few seconds. */
export type QueuePosition = Extract<Decision, { type: 'WAIT' }>;
export const queuePositionQuery = defineQuery<QueuePosition | null, [run: string]>('queue-position');
export const clusterViewQuery = defineQuery<ClusterView>('view');

// To a node.

/** Sent by the agent with every start of its process: signal-with-start creates the node on first contact. */
export const registerNodeSignal = defineSignal<[NodeInventory]>('register');
