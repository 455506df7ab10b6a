/** The activities of a run with their timeouts, and why these. */
import { ActivityCancellationType, proxyActivities } from '@temporalio/workflow';
import type { ActivityOptions } from '@temporalio/workflow';
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

interface Place {
  readonly cluster: string;
  readonly node: string;
}

export function nodeActivities(place: Place, summary: string): NodeActivities {
  return proxyActivities<NodeActivities>({
    ...onNode(place, summary),
    // A stop is over when the container is proven gone.
    cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  });
}

/**
 * Nobody waits for the answer of a node whose lease is over.
 * @param takenWithinMs how long it may take until an agent begins; without it, for as long as it takes
 */
export function removals(
  place: Place,
  summary: string,
  takenWithinMs?: number,
): Pick<NodeActivities, 'remove-container'> {
  return proxyActivities<NodeActivities>({
    ...onNode(place, summary),
    ...(takenWithinMs === undefined ? {} : { scheduleToStartTimeout: takenWithinMs }),
  });
}

/** Longer than any agent takes to be back, and than its loss takes to be noticed. */
export function lastCalls(place: Place, summary: string): Pick<NodeActivities, 'stop-container'> {
  return proxyActivities<NodeActivities>({ ...onNode(place, summary), scheduleToStartTimeout: '30s' });
}

/** Now or never: a node that does not take the order at once hears of the stop by other means. */
export function stopOrders(place: Place, summary: string): Pick<NodeActivities, 'stop-container'> {
  return proxyActivities<NodeActivities>({
    ...onNode(place, summary),
    scheduleToStartTimeout: '10s',
    retry: { maximumAttempts: 1 },
  });
}

/** A courtesy: a tracker or an agent that does not answer soon holds nothing up. */
export function trackerOpenings(place: Place, summary: string): Pick<NodeActivities, 'open-trackers'> {
  return proxyActivities<NodeActivities>({
    taskQueue: nodeQueue(place.cluster, place.node),
    scheduleToCloseTimeout: '10s',
    retry: { maximumAttempts: 1 },
    summary,
  });
}

/** The capacity waits for it: once, and not for long. */
export function containerReports(place: Place, summary: string): Pick<NodeActivities, 'report-in-container'> {
  return proxyActivities<NodeActivities>({
    taskQueue: nodeQueue(place.cluster, place.node),
    scheduleToStartTimeout: '10s',
    // The libraries have a minute.
    startToCloseTimeout: '75s',
    heartbeatTimeout: '6s',
    retry: { maximumAttempts: 1 },
    summary,
  });
}

/** No limit to the wait for a node: the cluster decides that a node is lost, and revokes the lease. */
function onNode({ cluster, node }: Place, summary: string): ActivityOptions {
  return {
    taskQueue: nodeQueue(cluster, node),
    startToCloseTimeout: LONGEST_ACTIVITY,
    // A killed agent is noticed after this; the next one re-attaches to the container.
    heartbeatTimeout: '6s',
    cancellationType: ActivityCancellationType.TRY_CANCEL,
    retry: RETRY,
    summary,
  };
}
