/** Runs whose workflow was terminated in Temporal: they had no chance to have their trackers told of the end. */
import type { Client } from '@temporalio/client';
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/client';
import { CONTROL_QUEUE, trackingWorkflowId, WORKFLOW_TYPES } from '../core/naming.ts';
import { trackersOf } from '../core/tracking.ts';
import { readRun } from './run-report.ts';

interface AbandonedRun {
  readonly run: string;
  readonly cluster: string;
  /** Where it ran. */
  readonly node: string;
}

/**
 * Starts the report that the run itself would have started. One that goes on, or was deleted, is left alone. Never
 * fails: an entry that stays open in a tracker is no reason to hold up anything.
 */
export async function reportAbandoned(client: Client, abandoned: AbandonedRun): Promise<void> {
  try {
    await report(client, abandoned);
  } catch (error) {
    if (error instanceof WorkflowExecutionAlreadyStartedError) return;
    console.error(`The trackers of ${abandoned.run} are not told of its end: ${String(error)}`);
  }
}

async function report(client: Client, { run, cluster, node }: AbandonedRun): Promise<void> {
  const details = await readRun(client, run);
  if (!details?.closed || !trackersOf(details.input.spec).includes('mlflow')) return;
  await client.workflow.start(WORKFLOW_TYPES.tracking, {
    workflowId: trackingWorkflowId(run),
    taskQueue: CONTROL_QUEUE,
    args: [{ run, cluster, nodes: [node] }],
    workflowIdReusePolicy: 'REJECT_DUPLICATE',
  });
}
