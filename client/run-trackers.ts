/** What is known of a run in its experiment trackers: from its history, and from the workflow that reports its end. */
import type { Client } from '@temporalio/client';
import { WorkflowFailedError, WorkflowNotFoundError } from '@temporalio/client';
import { trackingWorkflowId } from '../core/naming.ts';
import { trackersOf } from '../core/tracking.ts';
import type { TrackerEntry } from '../core/tracking.ts';
import type { RunDetails } from './run-history.ts';

export interface TrackerState extends TrackerEntry {
  /** Whether the tracker knows how the run has ended. */
  readonly told: boolean;
  /** When it is told again, after it could not be told. */
  readonly nextTryAt?: Date;
}

/** A person waits for the rest of what was asked. */
const REQUEST_MS = 3_000;

export async function trackersOfRun(client: Client, run: RunDetails): Promise<TrackerState[]> {
  // Nothing is told of a run that never had capacity.
  const trackers = run.nodes.length > 0 ? trackersOf(run.input.spec) : [];
  const report = run.closed && trackers.includes('mlflow') ? await mlflowReport(client, run.name) : undefined;
  const opened = new Map(run.trackers?.entries.map((entry) => [entry.tracker, entry]));
  const told = new Map(run.trackerReports.map((entry) => [entry.tracker, entry]));
  return trackers.map((tracker) => {
    const entry = told.get(tracker);
    const end = tracker === 'mlflow' ? report : entry && { ...entry, told: entry.problem === undefined };
    const { problem: early, ...known } = opened.get(tracker) ?? { tracker };
    // What did not work at the start is over when the tracker has been told of the end.
    const problem = end?.told === true ? undefined : (end?.problem ?? early);
    return { ...known, told: false, ...end, ...(problem !== undefined && { problem }) };
  });
}

/** Undefined of a run that never had capacity, and where nobody can tell. */
async function mlflowReport(client: Client, run: string): Promise<TrackerState | undefined> {
  const handle = client.workflow.getHandle(trackingWorkflowId(run));
  const tracker = 'mlflow';
  try {
    return await client.withDeadline(Date.now() + REQUEST_MS, async () => {
      const { status, raw } = await handle.describe();
      if (status.name !== 'RUNNING') {
        const reports = (await handle.result()) as readonly TrackerEntry[];
        const report = reports.find((entry) => entry.tracker === tracker);
        return report && { ...report, told: report.problem === undefined };
      }
      const [pending] = raw.pendingActivities ?? [];
      const problem = pending?.lastFailure?.message;
      const seconds = pending?.scheduledTime?.seconds;
      return {
        tracker,
        told: false,
        ...(problem && { problem }),
        ...(problem && seconds && { nextTryAt: new Date(Number(seconds) * 1_000) }),
      };
    });
  } catch (error) {
    if (error instanceof WorkflowFailedError)
      return { tracker, told: false, problem: error.cause?.message ?? error.message };
    if (!(error instanceof WorkflowNotFoundError)) throw error;
    return undefined;
  }
}
