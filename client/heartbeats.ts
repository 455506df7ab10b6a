/** What activities that are open now have last said of themselves; needs no worker. */
import type { Client } from '@temporalio/client';

export interface Heartbeat {
  /** Type of the activity. */
  readonly activity: string;
  /** When the server got it; absent before the first. */
  readonly at?: Date;
  readonly details: unknown;
}

export async function heartbeatsOf(client: Client, workflowId: string): Promise<readonly Heartbeat[]> {
  const { raw } = await client.workflow.getHandle(workflowId).describe();
  return (raw.pendingActivities ?? []).map(({ activityType, heartbeatDetails, lastHeartbeatTime: at }) => {
    const data = heartbeatDetails?.payloads?.[0]?.data;
    return {
      activity: activityType?.name ?? '',
      details: data?.length ? (JSON.parse(Buffer.from(data).toString('utf8')) as unknown) : undefined,
      ...(at && { at: new Date(Number(at.seconds ?? 0) * 1_000 + Math.floor((at.nanos ?? 0) / 1_000_000)) }),
    };
  });
}

/** One request each, some at a time; what is not answered within five seconds in all is missing. */
export async function heartbeatsOfAll(
  client: Client,
  workflowIds: readonly string[],
): Promise<ReadonlyMap<string, readonly Heartbeat[]>> {
  const found = new Map<string, readonly Heartbeat[]>();
  const rest = workflowIds.values();
  const deadline = Date.now() + ANSWERS_MS;
  const ask = async (): Promise<void> => {
    for (const workflowId of rest) {
      const request = (): Promise<readonly Heartbeat[]> => heartbeatsOf(client, workflowId);
      // A courtesy beside what was asked for: without it, the rest still works.
      await client
        .withDeadline(deadline, request)
        .then((beats) => found.set(workflowId, beats))
        .catch(() => undefined);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL_REQUESTS }, ask));
  return found;
}

const ANSWERS_MS = 5_000;
const PARALLEL_REQUESTS = 8;
