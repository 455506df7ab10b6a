/**
 * A node: holds one long activity on the node's own task queue. Its heartbeat is the node's heartbeat, and costs no
 * history while all is well; when it stops, the cluster hears that the node is lost.
 */
import {
  ActivityCancellationType,
  ActivityFailure,
  allHandlersFinished,
  CancellationScope,
  condition,
  continueAsNew,
  patched,
  proxyActivities,
  setHandler,
  TimeoutFailure,
  workflowInfo,
} from '@temporalio/workflow';
import type { ClusterActivities, NodeActivities } from '../activities/contract.ts';
import type { NodeInventory } from '../core/cluster.ts';
import { nodeQueue } from '../core/naming.ts';
import type { NodeHeartbeat } from '../core/node-health.ts';
import { announceNodeSignal, keepOrderSignal, registerNodeSignal } from './messages.ts';
import type { NodeReport } from './messages.ts';

export interface NodeInput {
  readonly cluster: string;
  readonly node: string;
  /** Known after continue-as-new. */
  readonly inventory?: NodeInventory;
  /** The registration that the inventory came with has been answered; those of earlier builds never had. */
  readonly isAnswered?: boolean;
  /** The process that was there last. */
  readonly agent?: string;
  readonly isForgotten?: boolean;
  /** What the cluster wants to be told again should it lose its memory. */
  readonly cordon?: Cordon;
  readonly isDeleted?: boolean;
}

type Cordon = NonNullable<Extract<NodeReport, { readonly type: 'joined' }>['cordon']>;

/** One service period is about 15 events. */
const MAX_HISTORY_EVENTS = 1_000;

/** The node beats every second; a machine with all its cores busy may be some seconds late. */
const HEARTBEAT_TIMEOUT_MS = 5_000;
/** An agent that was killed is back within this time, or its node counts as lost. */
const RETURN_MS = 3_000;
/**
 * An agent that was told to go is being replaced; one whose heartbeat got old while the server was away has yet to find
 * the server again. Counted by this workflow, and not by the server, so that an outage does not use it up.
 */
const RETURN_AFTER_OUTAGE_MS = 15_000;

export async function node(input: NodeInput): Promise<void> {
  const { cluster, node: name } = input;
  let inventory = input.inventory;
  let registrations = input.inventory && !input.isAnswered ? 1 : 0;
  let seen = 0;
  let serving = false;
  /** The process that was there last, and whether it has taken the node over from another. */
  let { agent } = input;
  let replaced = false;
  /** `isForgotten`: whether the cluster has lost its memory while this node was out of service. */
  let { cordon, isDeleted = false, isForgotten = false } = input;
  let service = new CancellationScope();
  setHandler(keepOrderSignal, (order) => {
    isDeleted = order.type === 'deleted';
    cordon = order.type === 'cordoned' ? reasonOf(order) : undefined;
  });
  setHandler(registerNodeSignal, (reported, process) => {
    inventory = reported;
    registrations += 1;
    if (process !== agent) isDeleted = false;
    if (serving && process !== agent) {
      replaced = true;
      service.cancel();
    }
    agent = process;
  });
  setHandler(announceNodeSignal, () => {
    if (isDeleted) return;
    if (serving) registrations += 1;
    else if (inventory && patched('tells-what-was-lost')) isForgotten = true;
  });
  const { 'report-node': reportNode } = proxyActivities<ClusterActivities>({
    startToCloseTimeout: '20s',
    summary: `Tell ${cluster} about ${name}`,
  });
  const { 'serve-node': serveNode } = proxyActivities<NodeActivities>({
    taskQueue: nodeQueue(cluster, name),
    startToCloseTimeout: '3650 days',
    heartbeatTimeout: HEARTBEAT_TIMEOUT_MS,
    scheduleToStartTimeout: '10s',
    // Nobody waits for an agent that another has replaced: it may be gone.
    cancellationType: ActivityCancellationType.TRY_CANCEL,
    // An agent that comes back registers, and is asked again for that.
    retry: { maximumAttempts: 1 },
    summary: `${name} is in service`,
  });

  const joined = (known: NodeInventory): Promise<void> =>
    reportNode({ cluster, report: { type: 'joined', inventory: known, ...(cordon && { cordon }) } });
  const lost = (): Promise<void> => {
    const { leaseMs } = inventory ?? {};
    return reportNode({
      cluster,
      report: { type: 'lost', node: name, ...(leaseMs !== undefined && { leaseMs }) },
    });
  };

  while (workflowInfo().historyLength < MAX_HISTORY_EVENTS) {
    await condition(() => registrations > seen || replaced || isForgotten);
    const isAway = registrations <= seen && !replaced;
    const forgotten = isForgotten;
    isForgotten = false;
    if (forgotten && isAway && inventory) {
      // Without this, runs that are lost with it would wait for it for ever.
      await joined(inventory);
      await lost();
    }
    if (isAway) continue;
    serving = true;
    replaced = false;
    let returnMs = RETURN_AFTER_OUTAGE_MS;
    service = new CancellationScope();
    const ended = service
      .run(() => serveNode({ cluster, node: name }))
      .catch((error: unknown) => (returnMs = returnTime(error)))
      .finally(() => (serving = false));
    // The agent may come back with other GPUs while its last service period still runs.
    // oxlint-disable-next-line no-unmodified-loop-condition -- the service's end changes it, while we wait
    while (serving) {
      if (registrations > seen && inventory) {
        seen = registrations;
        if (!isDeleted) await joined(inventory);
      }
      await condition(() => !serving || registrations > seen);
    }
    await ended;
    // oxlint-disable-next-line no-unnecessary-condition -- a signal changes it, while we wait
    if (replaced) continue;
    const isBack = await condition(() => registrations > seen, returnMs);
    if (!isBack) await lost();
  }
  await condition(allHandlersFinished);
  await continueAsNew<typeof node>({
    cluster,
    node: name,
    ...(inventory && { inventory }),
    ...(registrations <= seen && { isAnswered: true }),
    ...(agent !== undefined && { agent }),
    ...(cordon && { cordon }),
    ...(isDeleted && { isDeleted }),
    ...(isForgotten && { isForgotten }),
  });
}

function reasonOf({ reason }: { readonly reason?: string }): Cordon {
  return reason === undefined ? {} : { reason };
}

/** How long to wait for an agent whose service has ended in this way, in milliseconds. */
function returnTime(error: unknown): number {
  const cause = error instanceof ActivityFailure ? error.cause : undefined;
  if (!(cause instanceof TimeoutFailure) || cause.timeoutType !== 'HEARTBEAT') {
    return RETURN_AFTER_OUTAGE_MS;
  }
  const { sentAt = 0 } = (cause.lastHeartbeatDetails ?? {}) as Partial<NodeHeartbeat>;
  const isFresh = Date.now() - sentAt < 2 * HEARTBEAT_TIMEOUT_MS;
  return isFresh ? RETURN_MS : RETURN_AFTER_OUTAGE_MS;
}
