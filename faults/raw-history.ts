/** Temporal's histories as they come from the server: not one line of mcli's own reading is used. */
import type { Client } from '@temporalio/client';
import type { temporal } from '@temporalio/proto';

export type HistoryEvent = temporal.api.history.v1.IHistoryEvent;
type Payload = temporal.api.common.v1.IPayload;

interface ExecutionName {
  readonly workflowId: string;
  readonly runId: string;
}

const PAGE = 200;

/** All executions of a type of workflow. */
export async function list(client: Client, type: string, condition = ''): Promise<ExecutionName[]> {
  const found: ExecutionName[] = [];
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

/** In the order of the event ids, which is what the workflow has seen; times may go back in it. */
export async function historyOf(
  client: Client,
  { workflowId, runId }: ExecutionName,
): Promise<HistoryEvent[]> {
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

/** Histories of executions that followed one another, the first one first. */
export const inOrder = (histories: readonly HistoryEvent[][]): HistoryEvent[][] =>
  histories.toSorted((a, b) => timeOf(a[0]) - timeOf(b[0]));

/** Of the first payload; all that mcli sends is plain JSON. */
export function json(payloads: readonly Payload[] | null | undefined): unknown {
  const data = payloads?.[0]?.data;
  return data?.length ? JSON.parse(Buffer.from(data).toString('utf8')) : undefined;
}

export const timeOf = (event: HistoryEvent | undefined): number => milliseconds(event?.eventTime);

export function milliseconds(time: { seconds?: unknown; nanos?: number | null } | null | undefined): number {
  return Number(time?.seconds ?? 0) * 1_000 + (time?.nanos ?? 0) / 1e6;
}
