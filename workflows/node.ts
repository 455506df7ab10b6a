/**
 * A node: holds one long activity on the node's own task queue. Its heartbeat is the node's heartbeat, and costs no
 * history while all is well; when it stops, the cluster hears that the node is lost.
 */
import {
  allHandlersFinished,
  condition,
  continueAsNew,
  proxyActivities,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { ClusterActivities, NodeActivities } from '../activities/contract.ts';
import type { NodeInventory } from '../core/cluster.ts';
import { nodeQueue } from '../core/naming.ts';
import { announceNodeSignal, registerNodeSignal } from './messages.ts';

export interface NodeInput {
  readonly cluster: string;
  readonly node: string;
  /** Known after continue-as-new. */
  readonly inventory?: NodeInventory;
}

/** One service period is about 15 events. */
const MAX_HISTORY_EVENTS = 1_000;

/**
 * How long an agent may be away before its runs go elsewhere: it is restarted in seconds. Counted by this workflow, and
 * not by a timeout of the server, so that an outage of the server itself does not use it up.
 */
const RETURN_GRACE_MS = 15_000;

export async function node(input: NodeInput): Promise<void> {
  const { cluster, node: name } = input;
  let inventory = input.inventory;
  let registrations = input.inventory ? 1 : 0;
  let seen = 0;
  let serving = false;
  setHandler(registerNodeSignal, (reported) => {
    inventory = reported;
    registrations += 1;
  });
  setHandler(announceNodeSignal, () => {
    // A node that is out of service has nothing to announce.
    if (serving) registrations += 1;
  });
  const { 'report-node': reportNode } = proxyActivities<ClusterActivities>({
    startToCloseTimeout: '20s',
    summary: `Tell ${cluster} about ${name}`,
  });
  const { 'serve-node': serveNode } = proxyActivities<NodeActivities>({
    taskQueue: nodeQueue(cluster, name),
    startToCloseTimeout: '3650 days',
    heartbeatTimeout: '5s',
    scheduleToStartTimeout: '10s',
    // An agent that comes back registers, and is asked again for that.
    retry: { maximumAttempts: 1 },
    summary: `${name} is in service`,
  });

  while (workflowInfo().historyLength < MAX_HISTORY_EVENTS) {
    await condition(() => registrations > seen);
    serving = true;
    const service = serveNode({ cluster, node: name }).then(
      () => (serving = false),
      () => (serving = false),
    );
    // The agent may come back with other GPUs while its last service period still runs.
    // oxlint-disable-next-line no-unmodified-loop-condition -- the service's end changes it, while we wait
    while (serving) {
      if (registrations > seen && inventory) {
        seen = registrations;
        await reportNode({ cluster, report: { type: 'joined', inventory } });
      }
      await condition(() => !serving || registrations > seen);
    }
    await service;
    const isBack = await condition(() => registrations > seen, RETURN_GRACE_MS);
    if (!isBack) await reportNode({ cluster, report: { type: 'lost', node: name } });
  }
  await condition(allHandlersFinished);
  const carried = registrations > seen ? inventory : undefined;
  await continueAsNew<typeof node>({ cluster, node: name, ...(carried ? { inventory: carried } : {}) });
}
