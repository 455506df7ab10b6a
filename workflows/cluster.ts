/**
 * A cluster: a priority semaphore over its GPUs, around the pure planner of `core/scheduler.ts`. Handlers only change
 * the state; one round answers all signals of a wake-up, and one activity delivers all its grants. What a round does is
 * recorded in the history, so that a later planner does not have to decide as an earlier one did.
 *
 * What the cluster does next follows from that record alone, and never from its state or the clock. A worker that was
 * just started may be asked a query before it is given the task with the newest signals: it then hands some of them over
 * early, and the others with the task, while every replay hands them over together (SDK 1.24). So the state at which a
 * round begins may differ in a replay; what came of the round may not.
 */
import {
  allHandlersFinished,
  condition,
  continueAsNew,
  patched,
  proxyActivities,
  proxyLocalActivities,
  setCurrentDetails,
  setHandler,
  sleep,
} from '@temporalio/workflow';
import type { ClusterActivities } from '../activities/contract.ts';
import { clusterBeforeRounds } from './cluster-before-rounds.ts';
import { Ledger } from './ledger.ts';
import type { CarriedCluster } from './ledger.ts';
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
/** Two tasks of three events, an activity of three, the record. */
const EVENTS_OF_ROUND = 10;
/** A terminated run never gives its capacity back by itself; its agent does, and after two sweeps this cluster. */
const SWEEP_INTERVAL_MS = 30_000;

export async function cluster(initial: CarriedCluster): Promise<void> {
  const withRounds = patched('rounds');
  const ledger = new Ledger(initial, { beforeRounds: !withRounds });
  setHandler(requestCapacitySignal, (request, held) => ledger.request(request, held));
  setHandler(releaseCapacitySignal, (ref) => ledger.release(ref));
  setHandler(nodeReportSignal, (report) => ledger.report(report));
  setHandler(clusterViewQuery, (page) => ledger.view(page));
  setHandler(clusterNodesQuery, () => ledger.allNodes());
  setHandler(queuePositionQuery, (run) => ledger.queuePosition(run));
  const sweepAt = withRounds ? await goRounds(ledger, initial) : undefined;
  if (!withRounds) await clusterBeforeRounds(ledger, initial);
  await condition(allHandlersFinished);
  await continueAsNew<typeof cluster>({ ...ledger.carried(), ...(sweepAt === undefined ? {} : { sweepAt }) });
}

/** @returns when the next sweep is due, epoch milliseconds; undefined when none is. */
async function goRounds(
  ledger: Ledger,
  { cluster: name, fresh, nextFence, sweepAt }: CarriedCluster,
): Promise<number | undefined> {
  const activities = proxyActivities<ClusterActivities>({
    startToCloseTimeout: '60s',
    retry: { initialInterval: '1s', maximumInterval: '10s' },
  });
  const planner = proxyLocalActivities<Pick<ClusterActivities, 'next-round'>>({ startToCloseTimeout: '30s' });
  if (fresh) ledger.expect(await recall(name, nextFence));
  const timer = new SweepTimer(sweepAt);
  let seen = -1;
  let goesOn = true;
  for (let rounds = 1; goesOn; rounds += 1) {
    await condition(() => ledger.messages !== seen || timer.isDue || ledger.hasNotices());
    const now = Date.now();
    const start = ledger.roundStart({ isTimerSet: timer.isSet, isSweepDue: timer.isDue });
    const round = await planner['next-round']({ start, now });
    seen = round.messages;
    if (round.setsTimer) timer.set();
    ledger.carryOut(round, now);
    if (round.sweeps) {
      timer.sweeps();
      const ended = await activities['find-ended-runs'](ledger.runsToCheck());
      ledger.sweep(ended);
      if (ended.length > 0) seen = -1;
    }
    setCurrentDetails(ledger.details());
    if (round.notifies) {
      const gone = await activities['notify-runs']({ notices: ledger.takeNotices() });
      ledger.takeBack(gone);
      if (gone.length > 0) seen = -1;
    }
    goesOn = rounds * EVENTS_OF_ROUND + round.messages < MAX_HISTORY_EVENTS;
  }
  return timer.dueAt;
}

/** Nothing may be given out before it is known what is held. */
async function recall(cluster: string, nextFence: number): Promise<readonly string[]> {
  const { recall: ask } = proxyActivities<Pick<ClusterActivities, 'recall'>>({
    // Each of ten thousand runs is told; after the end of a worker, the next one goes on where it was.
    startToCloseTimeout: '1 hour',
    heartbeatTimeout: '30s',
    retry: { initialInterval: '1s', maximumInterval: '10s' },
  });
  const runs = await ask({ cluster, nextFence, names: true });
  // A worker of an earlier build only counts them.
  return typeof runs === 'number' ? [] : runs;
}

/** An idle cluster sets no timer, so that it costs no history. A busy one often continues as new before it is due. */
class SweepTimer {
  isSet = false;
  isDue = false;
  /** Epoch milliseconds; undefined when no sweep is to come. */
  dueAt: number | undefined;

  constructor(dueAt: number | undefined) {
    this.dueAt = dueAt;
  }

  set(): void {
    this.isSet = true;
    this.dueAt ??= Date.now() + SWEEP_INTERVAL_MS;
    void this.wait(Math.max(1, this.dueAt - Date.now()));
  }

  sweeps(): void {
    this.isDue = false;
    this.dueAt = undefined;
  }

  private async wait(ms: number): Promise<void> {
    const summary = 'Until the next look at runs that have ended without a word';
    // Cancelled with the workflow, whose own wait says so.
    await sleep(ms, { summary }).catch(() => undefined);
    this.isSet = false;
    this.isDue = true;
  }
}
