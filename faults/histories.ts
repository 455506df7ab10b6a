/** What Temporal's histories say of runs, leases and nodes, read raw: not one line of mcli's own reading is used. */
import type { Client } from '@temporalio/client';
import { readCluster } from './cluster-book.ts';
import type { ClusterFacts } from './cluster-book.ts';
import type { Closing, Evidence, Execution, NodeLoss, Step } from './evidence.ts';
import { historyOf, inOrder, json, list, milliseconds, timeOf } from './raw-history.ts';
import type { HistoryEvent } from './raw-history.ts';

export async function readExecutions(client: Client): Promise<Execution[]> {
  const executions: Execution[] = [];
  for (const { workflowId, runId } of await list(client, 'run')) {
    const events = await historyOf(client, { workflowId, runId });
    executions.push({ run: workflowId, executionId: runId, ...lifeOf(events) });
  }
  return executions;
}

/** What the history of a run says of it. */
export function lifeOf(events: readonly HistoryEvent[]): Omit<Execution, 'run' | 'executionId'> {
  const closed = events.map(closingOf).find((closing) => closing !== undefined);
  return {
    startedAt: timeOf(events[0]),
    steps: stepsOf(events),
    ...(closed === undefined ? {} : { closed }),
  };
}

/** Own names of the runs that have not ended. */
export async function openRuns(client: Client): Promise<string[]> {
  return (await list(client, 'run', " AND ExecutionStatus = 'Running'")).map(({ workflowId }) => workflowId);
}

/** What the cluster had given to whom, and which nodes were given up, over all executions of the workflows. */
export async function readCapacity(client: Client): Promise<Pick<Evidence, 'leases' | 'losses'>> {
  const [clusters, nodes] = await Promise.all([historiesOf(client, 'cluster'), historiesOf(client, 'node')]);
  const { leases, losses } = readCluster(inOrder(clusters));
  return { leases, losses: withDecisions(losses, nodes.flat()) };
}

const historiesOf = async (client: Client, type: string): Promise<HistoryEvent[][]> =>
  await Promise.all((await list(client, type)).map((execution) => historyOf(client, execution)));

/** Puts to each loss that the cluster has heard of the time at which the node's workflow had decided on it. */
export function withDecisions(
  losses: ClusterFacts['losses'],
  nodeEvents: readonly HistoryEvent[],
): NodeLoss[] {
  const decisions = nodeEvents.flatMap((event) => {
    const scheduled = event.activityTaskScheduledEventAttributes;
    if (scheduled?.activityType?.name !== 'report-node') return [];
    const { report } = json(scheduled.input?.payloads) as { report: { type: string; node?: string } };
    return report.type === 'lost' ? [{ node: report.node, at: timeOf(event) }] : [];
  });
  return losses.map((loss) => {
    const own = decisions.filter(({ node, at }) => node === loss.node && at <= loss.heardAt);
    return { ...loss, at: Math.max(...own.map(({ at }) => at)) };
  });
}

/** When somebody last heard from the agent of a node, in epoch milliseconds. */
export async function lastHeartbeat(client: Client, cluster: string, node: string): Promise<number> {
  const { pendingActivities } = await client.workflowService.describeWorkflowExecution({
    namespace: client.options.namespace,
    execution: { workflowId: `node/${cluster}/${node}` },
  });
  const times = (pendingActivities ?? []).map(({ lastHeartbeatTime }) => milliseconds(lastHeartbeatTime));
  return Math.max(0, ...times);
}

function stepsOf(events: readonly HistoryEvent[]): Step[] {
  const steps: Step[] = [];
  for (const event of events) {
    const fields = event.upsertWorkflowSearchAttributesEventAttributes?.searchAttributes?.indexedFields;
    const memo = event.workflowPropertiesModifiedEventAttributes?.upsertedMemo?.fields?.['message'];
    const last = steps.at(-1);
    // The sentence comes behind the status that it explains.
    if (memo && last) steps[steps.length - 1] = { ...last, message: json([memo]) as string };
    if (!fields?.['RunStatus']) continue;
    const field = (name: string): unknown => json(fields[name] ? [fields[name]] : []);
    steps.push({
      at: timeOf(event),
      status: field('RunStatus') as string,
      reason: (field('RunReason') as string | undefined) ?? '',
      resumption: Number(field('Resumption') ?? 0),
      message: '',
    });
  }
  return steps;
}

interface Outcome {
  readonly status?: string;
  readonly exitCode?: number;
  readonly accepted?: boolean;
}

function closingOf(event: HistoryEvent): Closing | undefined {
  const at = timeOf(event);
  const {
    workflowExecutionCompletedEventAttributes: completed,
    workflowExecutionFailedEventAttributes: failed,
  } = event;
  if (completed) return ending(at, json(completed.result?.payloads) as Outcome);
  if (failed) {
    const details = json(failed.failure?.applicationFailureInfo?.details?.payloads) as Outcome | undefined;
    return ending(at, details ?? { status: `failed: ${failed.failure?.message}` });
  }
  const isGone =
    event.workflowExecutionTerminatedEventAttributes ??
    event.workflowExecutionCanceledEventAttributes ??
    event.workflowExecutionTimedOutEventAttributes ??
    event.workflowExecutionContinuedAsNewEventAttributes;
  return isGone ? { at, type: 'terminated' } : undefined;
}

function ending(at: number, { accepted, status, exitCode }: Outcome): Closing {
  if (accepted === false) return { at, type: 'refused' };
  return {
    at,
    type: 'ended',
    ...(status === undefined ? {} : { status }),
    ...(exitCode === undefined ? {} : { exitCode }),
  };
}
