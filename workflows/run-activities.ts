/** The activities of a run with their timeouts, and why these. */
import { ActivityCancellationType, proxyActivities } from '@temporalio/workflow';
import type { ControlActivities, NodeActivities } from '../activities/contract.ts';
import { FAILURES } from '../core/failures.ts';
import { CONTROL_QUEUE, nodeQueue } from '../core/naming.ts';

/**
 * A failure of the closed table is final for its activity: the workflow decides on the next resumption. Everything
 * else (an agent that restarts, a lost connection) is tried again for as long as the node is in service.
 */
const RETRY = {
  initialInterval: 1_000,
  backoffCoefficient: 1.5,
  maximumInterval: 10_000,
  nonRetryableErrorTypes: Object.keys(FAILURES),
};

/** Longer than any training run: `max_duration` is the limit that users set. */
const LONGEST_ACTIVITY = '365 days';

export function controlActivities(summary: string): ControlActivities {
  return proxyActivities<ControlActivities>({
    taskQueue: CONTROL_QUEUE,
    // Signals and one look at the clusters: seconds. A worker that dies in between costs one retry.
    startToCloseTimeout: '20s',
    retry: RETRY,
    summary,
  });
}

/** Somebody waits for the answer: a cluster that is being restarted is asked again, one that stays away is told of. */
export function constructionActivities(summary: string): Pick<ControlActivities, 'construct'> {
  return proxyActivities<ControlActivities>({
    taskQueue: CONTROL_QUEUE,
    startToCloseTimeout: '10s',
    scheduleToCloseTimeout: '30s',
    retry: RETRY,
    summary,
  });
}

export function nodeActivities(
  place: { readonly cluster: string; readonly node: string },
  summary: string,
): NodeActivities {
  return proxyActivities<NodeActivities>({
    taskQueue: nodeQueue(place.cluster, place.node),
    startToCloseTimeout: LONGEST_ACTIVITY,
    // A killed agent is noticed after this; the next one re-attaches to the container.
    heartbeatTimeout: '10s',
    // Node loss is decided by the cluster, which revokes the lease; this only ends a wait that nobody else would.
    scheduleToStartTimeout: '10m',
    // A stop is over when the container is proven gone.
    cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    retry: RETRY,
    summary,
  });
}
