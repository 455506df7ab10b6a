/**
 * Heartbeats that are sent by hand: the SDK's own never say whether they arrived, nor what the server has answered.
 */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Context } from '@temporalio/activity';
import type { Client } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import { GRPC, grpcCode } from '../client/grpc-codes.ts';

/** A server that takes longer is asked again. */
const ANSWER_MS = 3_000;
const RETRY_MS = 500;

/**
 * Of the current attempt of an activity.
 * @returns whether the server still wants it to go on
 * @throws ServiceError when the server is away
 */
export async function sendHeartbeat(client: Client, details: unknown): Promise<boolean> {
  const { taskToken } = Context.current().info;
  try {
    const answer = await client.withDeadline(Date.now() + ANSWER_MS, () =>
      client.workflowService.recordActivityTaskHeartbeat({
        namespace: client.options.namespace,
        taskToken,
        details: { payloads: [defaultPayloadConverter.toPayload(details)] },
        identity: client.options.identity,
      }),
    );
    return !(answer.cancelRequested || answer.activityPaused || answer.activityReset);
  } catch (error) {
    // It has timed out, or its workflow is over.
    if (grpcCode(error) === GRPC.notFound) return false;
    throw error;
  }
}

/**
 * Resolves when the server has just said that it wants this attempt to go on. Whoever was cut off may hold an order that
 * others carry out by now: then it waits to hear so from the SDK. A server that is away is waited for.
 * @param signal of the attempt
 */
export async function untilConfirmed(client: Client, signal: AbortSignal): Promise<void> {
  // What an earlier attempt has told stays.
  const { heartbeatDetails } = Context.current().info;
  for (;;) {
    const isWanted = await sendHeartbeat(client, heartbeatDetails).catch(() => undefined);
    if (isWanted === true) return;
    if (isWanted === false && !signal.aborted) await once(signal, 'abort');
    signal.throwIfAborted();
    await sleep(RETRY_MS, undefined, { signal });
  }
}
