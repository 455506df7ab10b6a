/** Runs one activity, of which the worker hears late that it was cancelled: heartbeats are throttled by their timeout. */
import { ActivityCancellationType, proxyActivities } from '@temporalio/workflow';

export interface OneActivity {
  work(): Promise<void>;
}

export async function oneActivity(): Promise<void> {
  const { work } = proxyActivities<OneActivity>({
    startToCloseTimeout: '10 minutes',
    heartbeatTimeout: '2 minutes',
    cancellationType: ActivityCancellationType.TRY_CANCEL,
    retry: { maximumAttempts: 1 },
  });
  await work();
}
