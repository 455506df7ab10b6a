/** What Temporal's histories say of runs and leases, read raw: not one line of mcli's own reading is used. */
import type { Client } from '@temporalio/client';
import type { temporal } from '@temporalio/proto';
import type { Closing, Execution, LeaseTime, Step } from './evidence.ts';

type HistoryEvent = temporal.api.history.v1.IHistoryEvent;
type Payload = temporal.api.common.v1.IPayload;

const PAGE = 200;

export async function readExecutions(client: Client): Promise<Execution[]> {
  const found = await list(client, 'run');
  const executions: Execution[] = [];
  for (const { workflowId, runId } of found) {
    const events = await historyOf(client, workflowId, runId);
    const closed = events.map(closingOf).find((closing) => closing !== undefined);
    executions.push({
      run: workflowId,
      executionId: runId,
      startedAt: timeOf(events[0]),
      steps: stepsOf(events),
      ...(closed === undefined ? {} : { closed }),
    });
  }
  return executions;
}

/** Own names of the runs that have not ended. */
export async function openRuns(client: Client): Promise<string[]> {
  return (await list(client, 'run', " AND ExecutionStatus = 'Running'")).map(({ workflowId }) => workflowId);
}

/** Leases as the cluster grants and takes them back, over all executions of its workflow. */
export async function readLeases(client: Client): Promise<LeaseTime[]> {
  const clusters = await list(client, 'cluster');
  const leases: { -readonly [Key in keyof LeaseTime]: LeaseTime[Key] }[] = [];
  const end = (at: number, isMeant: (lease: LeaseTime) => boolean): void => {
    for (const lease of leases) if (lease.endedAt === undefined && isMeant(lease)) lease.endedAt = at;
  };
  const histories = await Promise.all(
    clusters.map(({ workflowId, runId }) => historyOf(client, workflowId, runId)),
  );
  let suspects: readonly string[] = [];
  for (const events of histories.toSorted((a, b) => timeOf(a[0]) - timeOf(b[0]))) {
    const activities = new Map<string, string>();
    for (const event of events) {
      const {
        activityTaskScheduledEventAttributes: scheduled,
        activityTaskCompletedEventAttributes: completed,
        workflowExecutionSignaledEventAttributes: signaled,
      } = event;
      if (scheduled) {
        activities.set(String(event.eventId), scheduled.activityType?.name ?? '');
        if (scheduled.activityType?.name !== 'notify-runs') continue;
        for (const granted of grantsIn(scheduled.input?.payloads)) {
          if (leases.some(({ fence }) => fence === granted.fence)) continue;
          // By the server's clock: that of a workflow whose worker was killed may be seconds old.
          leases.push({ ...granted, grantedAt: timeOf(event) });
        }
      } else if (completed) {
        const name = activities.get(String(completed.scheduledEventId));
        const runs = json(completed.result?.payloads) as readonly string[] | undefined;
        // Who got a lease and was gone already; who is found ended twice.
        if (name === 'notify-runs') end(timeOf(event), ({ run }) => runs?.includes(run) ?? false);
        if (name !== 'find-ended-runs') continue;
        end(timeOf(event), ({ run }) => (runs?.includes(run) ?? false) && suspects.includes(run));
        suspects = runs ?? [];
      } else if (signaled?.signalName === 'release-capacity') {
        const { run, resumption } = json(signaled.input?.payloads) as { run: string; resumption: number };
        end(timeOf(event), (lease) => lease.run === run && lease.resumption === resumption);
      }
    }
  }
  return leases;
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

async function list(
  client: Client,
  type: string,
  condition = '',
): Promise<{ readonly workflowId: string; readonly runId: string }[]> {
  const found: { workflowId: string; runId: string }[] = [];
  let nextPageToken: Uint8Array | undefined;
  do {
    const page = await client.workflowService.listWorkflowExecutions({
      namespace: client.options.namespace,
      query: `WorkflowType = '${type}'${condition}`,
      pageSize: PAGE,
      ...(nextPageToken === undefined ? {} : { nextPageToken }),
    });
    for (const { execution } of page.executions ?? []) {
      found.push({ workflowId: execution?.workflowId ?? '', runId: execution?.runId ?? '' });
    }
    nextPageToken = page.nextPageToken?.length ? page.nextPageToken : undefined;
  } while (nextPageToken !== undefined);
  return found;
}

async function historyOf(client: Client, workflowId: string, runId: string): Promise<HistoryEvent[]> {
  const events: HistoryEvent[] = [];
  let nextPageToken: Uint8Array | undefined;
  do {
    const page = await client.workflowService.getWorkflowExecutionHistory({
      namespace: client.options.namespace,
      execution: { workflowId, runId },
      ...(nextPageToken === undefined ? {} : { nextPageToken }),
    });
    events.push(...(page.history?.events ?? []));
    nextPageToken = page.nextPageToken?.length ? page.nextPageToken : undefined;
  } while (nextPageToken !== undefined);
  return events;
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

interface Notice {
  readonly type: string;
  readonly grant?: {
    readonly lease: Pick<LeaseTime, 'fence' | 'ranks'> & {
      readonly request: { readonly run: string; readonly resumption: number };
    };
  };
}

function grantsIn(payloads: readonly Payload[] | null | undefined): Omit<LeaseTime, 'grantedAt'>[] {
  const { notices } = json(payloads) as { notices: readonly Notice[] };
  return notices.flatMap(({ type, grant }) => {
    if (type !== 'granted' || grant === undefined) return [];
    const { request, fence, ranks } = grant.lease;
    return [{ run: request.run, resumption: request.resumption, fence, ranks }];
  });
}

/** Of the first payload; all that mcli sends is plain JSON. */
function json(payloads: readonly Payload[] | null | undefined): unknown {
  const data = payloads?.[0]?.data;
  return data?.length ? JSON.parse(Buffer.from(data).toString('utf8')) : undefined;
}

const timeOf = (event: HistoryEvent | undefined): number => milliseconds(event?.eventTime);

function milliseconds(time: { seconds?: unknown; nanos?: number | null } | null | undefined): number {
  return Number(time?.seconds ?? 0) * 1_000 + (time?.nanos ?? 0) / 1e6;
}
