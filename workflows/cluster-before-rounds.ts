/**
 * The cluster of builds before rounds, for the replay of its histories: one continues as new, and with that in rounds,
 * within 1,000 events. To be removed with the next version.
 */
import {
  condition,
  patched,
  proxyActivities,
  proxyLocalActivities,
  setCurrentDetails,
  sleep,
  workflowInfo,
} from '@temporalio/workflow';
import type { ClusterActivities } from '../activities/contract.ts';
import type { PackedCluster } from '../core/cluster-state.ts';
import type { Ledger } from './ledger.ts';

const MAX_HISTORY_EVENTS = 1_000;
const SWEEP_INTERVAL_MS = 30_000;
const RECALL_MS = 10_000;

export async function clusterBeforeRounds(ledger: Ledger, initial: PackedCluster): Promise<void> {
  const activities = proxyActivities<ClusterActivities>({
    startToCloseTimeout: '60s',
    retry: { initialInterval: '1s', maximumInterval: '10s' },
  });
  const planner = proxyLocalActivities<Pick<ClusterActivities, 'plan'>>({ startToCloseTimeout: '30s' });
  const mustContinue = (): boolean =>
    workflowInfo().continueAsNewSuggested || workflowInfo().historyLength > MAX_HISTORY_EVENTS;

  if (initial.fresh) {
    const { cluster: name, nextFence } = initial;
    const runs = await activities.recall({ cluster: name, nextFence });
    // What is held must be known before anything is given out.
    if (Number(runs) > 0)
      await sleep(RECALL_MS, { summary: 'Waiting for nodes and runs to tell what they hold' });
  }
  // The first task after a restart of the worker may have an older time than its replay (seen with local activities in
  // SDK 1.24): what is done next must follow from what has happened, and never from the clock.
  const byTimer = patched('sweep-timer');
  let isTimerSet = false;
  let isSweepDue = false;
  const setTimer = async (): Promise<void> => {
    isTimerSet = true;
    const summary = 'Until the next look at runs that have ended without a word';
    // Cancelled with the workflow, whose own wait says so.
    await sleep(SWEEP_INTERVAL_MS, { summary }).catch(() => undefined);
    isTimerSet = false;
    isSweepDue = true;
  };
  let nextSweepAt = Date.now() + SWEEP_INTERVAL_MS;
  while (!mustContinue() || ledger.hasNotices()) {
    // An idle cluster sets no timer, so that it costs no history.
    if (byTimer) {
      if (!ledger.isIdle() && !isTimerSet) void setTimer();
      await condition(() => ledger.changed || isSweepDue);
    } else if (ledger.isIdle()) await condition(() => ledger.changed);
    else await condition(() => ledger.changed, Math.max(1, nextSweepAt - Date.now()));
    const sweepsNow = byTimer ? isSweepDue : Date.now() >= nextSweepAt;
    isSweepDue = false;
    if (sweepsNow && !ledger.isIdle()) {
      nextSweepAt = Date.now() + SWEEP_INTERVAL_MS;
      ledger.sweep(await activities['find-ended-runs'](ledger.runsToCheck()));
    }
    const { needsPlan } = ledger;
    ledger.changed = false;
    if (needsPlan) {
      const now = Date.now();
      ledger.carryOut(await planner.plan({ cluster: ledger.state(), now }), now);
    }
    const notices = ledger.takeNotices();
    setCurrentDetails(ledger.details());
    if (notices.length > 0) ledger.takeBack(await activities['notify-runs']({ notices }));
  }
}
