/**
 * A cluster: a priority semaphore over its GPUs, around the pure planner of `core/scheduler.ts`. Handlers only change
 * the state; one planning pass answers all signals of a wake-up, and one activity delivers all its grants.
 */
import {
  allHandlersFinished,
  condition,
  continueAsNew,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { ClusterActivities } from '../activities/contract.ts';
import type { PackedCluster } from '../core/cluster-state.ts';
import { Ledger } from './ledger.ts';
import {
  clusterNodesQuery,
  clusterViewQuery,
  nodeReportSignal,
  queuePositionQuery,
  releaseCapacitySignal,
  requestCapacitySignal,
} from './messages.ts';

/** Replay costs about half a millisecond per event, and a task has 5 s: far below Temporal's own suggestion of 4,096. */
const MAX_HISTORY_EVENTS = 1_000;
/** A terminated run never gives its capacity back by itself; its agent does, and after two sweeps this cluster. */
const SWEEP_INTERVAL_MS = 30_000;

export async function cluster(initial: PackedCluster): Promise<void> {
  const ledger = new Ledger(initial);
  setHandler(requestCapacitySignal, (request, held) => ledger.request(request, held));
  setHandler(releaseCapacitySignal, (ref) => ledger.release(ref));
  setHandler(nodeReportSignal, (report) => ledger.report(report));
  setHandler(clusterViewQuery, (page) => ledger.view(page));
  setHandler(clusterNodesQuery, () => ledger.allNodes());
  setHandler(queuePositionQuery, (run) => ledger.queuePosition(run));
  const activities = proxyActivities<ClusterActivities>({
    startToCloseTimeout: '60s',
    retry: { initialInterval: '1s', maximumInterval: '10s' },
  });
  const mustContinue = (): boolean =>
    workflowInfo().continueAsNewSuggested || workflowInfo().historyLength > MAX_HISTORY_EVENTS;

  if (initial.fresh) await activities.recall({ cluster: initial.cluster });
  let nextSweepAt = Date.now() + SWEEP_INTERVAL_MS;
  while (!mustContinue() || ledger.hasNotices()) {
    // An idle cluster sets no timer, so that it costs no history.
    if (ledger.isIdle()) await condition(() => ledger.changed);
    else await condition(() => ledger.changed, Math.max(1, nextSweepAt - Date.now()));
    if (Date.now() >= nextSweepAt && !ledger.isIdle()) {
      nextSweepAt = Date.now() + SWEEP_INTERVAL_MS;
      ledger.sweep(await activities['find-ended-runs']({ runs: ledger.runsToCheck() }));
    }
    const notices = ledger.plan(Date.now());
    setCurrentDetails(ledger.details());
    if (notices.length > 0) ledger.takeBack(await activities['notify-runs']({ notices }));
  }
  await condition(allHandlersFinished);
  await continueAsNew<typeof cluster>(ledger.state());
}
