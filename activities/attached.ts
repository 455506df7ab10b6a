/**
 * How an activity holds on to something that outlives it. A container must survive the agent, the servers and the
 * network, so the end of an activity has two meanings: stopped, when the workflow asked for it, and detached in every
 * other case (agent shut down, heartbeat lost, activity paused), where the next attempt attaches again.
 */
import { ApplicationFailure, CancelledFailure, Context, log } from '@temporalio/activity';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FailureType, RunFailure } from '../core/failures.ts';
import { DockerError, DockerSilent } from './docker-requests.ts';

/** Well under the throttle of the worker, which decides how often a heartbeat really goes out. */
const HEARTBEAT_MS = 1000;
/** A daemon that is restarted is back well within this time. */
const DOCKER_PATIENCE_MS = 60_000;
const DOCKER_RETRY_MS = 300;

/**
 * Runs `work`, which ends early when its signal aborts, and heartbeats meanwhile.
 * @throws ApplicationFailure: of a type of `core/failures.ts` and final, or `AgentDetached` and retryable.
 * @throws CancelledFailure when the workflow cancelled; `details` of one that `work` throws are kept.
 */
export async function whileAttached<T>(
  work: (signal: AbortSignal) => Promise<T>,
  progress: () => unknown = () => undefined,
): Promise<T> {
  const context = Context.current();
  const beat = setInterval(() => context.heartbeat(progress()), HEARTBEAT_MS);
  try {
    return await work(context.cancellationSignal);
  } catch (error) {
    if (!context.cancellationSignal.aborted) throw finalFailure(error);
    if (!stopRequested()) throw detached(error);
    throw error instanceof CancelledFailure ? error : new CancelledFailure('Stopped.', [], asError(error));
  } finally {
    clearInterval(beat);
  }
}

/** True when the workflow wants the work stopped: the only reason to stop a container. */
export function stopRequested(): boolean {
  return Context.current().cancellationDetails?.cancelRequested === true;
}

/**
 * How long a daemon is waited for that is away, or that is there and silent, in milliseconds. Asked anew after each
 * attempt, since it may be known only while the daemon is away.
 */
export type DockerPatience = (isSilent: boolean) => number;

/** Repeats a step, which must be safe to repeat, while the Docker daemon is away or does not answer. */
export async function whileDockerIsAway<T>(
  signal: AbortSignal | undefined,
  step: () => Promise<T>,
  patience: DockerPatience = () => DOCKER_PATIENCE_MS,
): Promise<T> {
  let since: number | undefined;
  /** A stall says nothing about how long the daemon will be away when it goes. */
  let awaySince: number | undefined;
  for (;;) {
    try {
      return await step();
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof DockerError && error.unreachable)) throw error;
      const now = performance.now();
      const isSilent = error instanceof DockerSilent;
      since ??= now;
      awaySince = isSilent ? undefined : (awaySince ?? now);
      if (now - (awaySince ?? since) > patience(isSilent)) throw error;
      await sleep(DOCKER_RETRY_MS, undefined, signal && { signal });
    }
  }
}

/** A failure for the run; Temporal does not repeat it, the run decides by the table. */
export function runFailure(failure: RunFailure, cause?: unknown): ApplicationFailure {
  return ApplicationFailure.create({
    type: failure.type,
    message: failure.message,
    nonRetryable: true,
    details: [failure],
    ...(cause instanceof Error && { cause }),
  });
}

function finalFailure(error: unknown): Error {
  if (error instanceof ApplicationFailure || error instanceof CancelledFailure) return error;
  const type: FailureType = error instanceof DockerError ? 'DockerError' : 'AgentError';
  const said = asError(error).message.replace(/\.?\s*$/, '.');
  log.error('An activity failed that should not', { error: asError(error) });
  const message =
    type === 'DockerError' ? `Docker on the node failed: ${said}` : `The node agent failed: ${said}`;
  return runFailure({ type, message }, error);
}

function detached(error: unknown): ApplicationFailure {
  return ApplicationFailure.create({
    type: 'AgentDetached',
    message: 'The node agent let go of the container, which goes on; the next attempt attaches to it.',
    cause: asError(error),
  });
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
