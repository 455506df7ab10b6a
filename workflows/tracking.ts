/**
 * The report of an ended run to its trackers: a workflow of its own, so that no tracker holds up a run's end. It ends
 * when they have taken the report, or after a week. Only agents can open secrets: the nodes of the run are asked, one
 * after the other.
 */
import {
  ActivityFailure,
  ApplicationFailure,
  ParentClosePolicy,
  proxyActivities,
  startChild,
  TimeoutFailure,
} from '@temporalio/workflow';
import { TimeoutType, WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import type { NodeActivities } from '../activities/contract.ts';
import { nodeQueue, trackingWorkflowId } from '../core/naming.ts';
import type { TrackerEntry } from '../core/tracking.ts';

export interface TrackingInput {
  readonly run: string;
  readonly cluster: string;
  /** At least one; the first is asked first. */
  readonly nodes: readonly string[];
  /** How long each node may take to begin, at first, in milliseconds: 5 minutes. */
  readonly patienceMs?: number;
}

const REPORT_FOR_MS = 7 * 24 * 3_600_000;
/** An agent that starts again is back sooner; a node that stays away longer is passed over. */
const PATIENCE_MS = 5 * 60_000;
/** When every node was away once, they may be so for days: each try is a few events of the history. */
const LATER_PATIENCE_MS = 3_600_000;

export async function tracking({
  run,
  cluster,
  nodes,
  patienceMs = PATIENCE_MS,
}: TrackingInput): Promise<readonly TrackerEntry[]> {
  const deadline = Date.now() + REPORT_FOR_MS;
  for (let waitMs = patienceMs; ; waitMs = LATER_PATIENCE_MS) {
    for (const node of nodes) {
      try {
        return await reports({ cluster, node }, waitMs, deadline - Date.now())['report-run']({ run });
      } catch (error) {
        if (!isAway(error) || Date.now() >= deadline) throw lastWord(error);
      }
    }
  }
}

function reports(
  { cluster, node }: { readonly cluster: string; readonly node: string },
  waitMs: number,
  leftMs: number,
): Pick<NodeActivities, 'report-run'> {
  return proxyActivities<NodeActivities>({
    taskQueue: nodeQueue(cluster, node),
    // The activity gives up sooner by itself.
    startToCloseTimeout: '2 minutes',
    scheduleToStartTimeout: waitMs,
    scheduleToCloseTimeout: leftMs,
    retry: { initialInterval: '2s', backoffCoefficient: 2, maximumInterval: '1h' },
    summary: 'Tell the trackers how the run has ended',
  });
}

/** True when the node has not begun: it may be gone for good. */
function isAway(error: unknown): boolean {
  const cause = error instanceof ActivityFailure ? error.cause : undefined;
  return cause instanceof TimeoutFailure && cause.timeoutType === TimeoutType.SCHEDULE_TO_START;
}

function lastWord(error: unknown): unknown {
  if (!(error instanceof ActivityFailure)) return error;
  const message = `The trackers were not told: ${error.cause?.message ?? error.message}`;
  return ApplicationFailure.nonRetryable(message, 'TrackerSilent');
}

/** Called by a run as its last act. */
export async function reportLater(input: TrackingInput): Promise<void> {
  try {
    await startChild(tracking, {
      workflowId: trackingWorkflowId(input.run),
      args: [input],
      parentClosePolicy: ParentClosePolicy.ABANDON,
      staticSummary: `Tells the trackers of ${input.run} how it has ended`,
    });
  } catch (error) {
    // A run that was reset in Temporal has been here before.
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
  }
}
