/** The ranks of a lease: together, or not at all. One failing rank ends the others. */
import {
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  condition,
  isCancellation,
  patched,
  sleep,
  TimeoutFailure,
} from '@temporalio/workflow';
import { TimeoutType } from '@temporalio/common';
import type { ContainerStop, RankAssignment, RankExecution } from '../activities/contract.ts';
import type { Lease } from '../core/cluster.ts';
import { exitFailure, isFailureType, rootCause } from '../core/failures.ts';
import type { RunFailure } from '../core/failures.ts';
import type { RunInput } from '../core/run.ts';
import type { ResourceRequest, RunSpec } from '../core/run-spec.ts';
import { TRACKER_NAMES, trackersInContainer, trackersOf, withEarlierEntries } from '../core/tracking.ts';
import type { OpenedTrackers, RunEnd } from '../core/tracking.ts';
import type { Interruptions } from './interruptions.ts';
import {
  containerReports,
  lastCalls,
  nodeActivities,
  removals,
  stopOrders,
  trackerOpenings,
} from './run-activities.ts';

/** The answer to a stop is on its way when the container is gone. */
const ANSWER_MS = 1_000;
/** A Docker daemon that refuses is asked again ever more rarely: it may do so for days, and a history has its limits. */
const REMOVE_AGAIN_MS = { first: 10_000, most: 300_000 };

/** From the end of a grace until the container is gone. */
const REMOVAL_SLACK_MS = 2_000;

/** Thrown when at least one rank failed; carries the failure that stands for all. */
export class GangFailed extends Error {
  readonly failure: RunFailure;
  /** Ranks of whose end their nodes have said nothing. */
  readonly silent: readonly RankExecution[];

  constructor(failure: RunFailure, silent: readonly RankExecution[] = []) {
    super(failure.message);
    this.name = 'GangFailed';
    this.failure = failure;
    this.silent = silent;
  }
}

export interface Gang {
  readonly spec: RunSpec;
  readonly lease: Lease;
  readonly ranks: readonly RankExecution[];
  /** What the trackers of the run have answered; absent until they were asked. */
  readonly tracking?: OpenedTrackers;
}

export function assembleGang(
  { spec, user, graceMs }: RunInput,
  resources: ResourceRequest,
  lease: Lease,
  masterAddress: string,
): Gang {
  const { run, resumption } = lease.request;
  const ranks = lease.ranks.map(({ node, gpuIds }, rank) => ({
    run,
    resumption,
    rank,
    cluster: resources.cluster,
    node,
    fence: lease.fence,
    gpuIds,
    user,
    spec,
    numNodes: lease.ranks.length,
    localWorldSize: gpuIds.length,
    worldSize: resources.gpus,
    masterAddress,
    graceMs,
  }));
  return { spec, lease, ranks };
}

export async function pullImages({ ranks, spec }: Gang): Promise<void> {
  await onEveryRank(ranks, async (rank) => {
    const node = nodeActivities(rank, `Pull ${spec.image} on ${rank.node}`);
    await node['pull-image']({ ...assignmentOf(rank), image: spec.image, user: rank.user });
  });
}

/**
 * Pulls the image on every node while the trackers are asked for the entries of the run, and answers with the gang that
 * knows of them. Waits for both, also when one fails: an entry that is still being made would be made again.
 */
export async function pullImagesAndOpenTrackers(
  gang: Gang,
  earlier: OpenedTrackers | undefined,
): Promise<Gang> {
  const opening = openTrackers(gang);
  try {
    await pullImages(gang);
  } finally {
    await opening;
  }
  const tracking = withEarlierEntries(await opening, earlier);
  return { ...gang, tracking, ranks: gang.ranks.map((rank) => ({ ...rank, tracking })) };
}

/** Never fails. */
async function openTrackers({ ranks, spec }: Gang): Promise<OpenedTrackers> {
  const [first] = ranks as [RankExecution];
  const names = trackersOf(spec).map((tracker) => TRACKER_NAMES[tracker]);
  try {
    return await trackerOpenings(first, `Open ${names.join(', ')}`)['open-trackers'](first);
  } catch {
    const problem = `Node ${first.node} did not open the entry in time; the run goes on without.`;
    return { entries: trackersOf(spec).map((tracker) => ({ tracker, problem })), environment: {} };
  }
}

/** Lets the libraries in the container of rank 0 tell their trackers how the run ends. Never fails. */
export async function reportInContainer({ ranks, spec }: Gang, end: RunEnd): Promise<void> {
  const trackers = trackersInContainer(spec);
  if (trackers.length === 0) return;
  const [first] = ranks as [RankExecution];
  const names = trackers.map((tracker) => TRACKER_NAMES[tracker]).join(', ');
  try {
    await containerReports(first, `Tell ${names} how the run ends`)['report-in-container']({ ...first, end });
  } catch {
    // Seen in the history, and told by `describe`: the run itself is not to suffer.
  }
}

export async function runIntegrations({ ranks, spec }: Gang): Promise<void> {
  const names = spec.integrations.map(({ type }) => type).join(', ') || 'none';
  await onEveryRank(ranks, async (rank) => {
    await nodeActivities(
      rank,
      `Rank ${rank.rank} on ${rank.node}: prepare, integrations: ${names}`,
    ).integrations(rank);
  });
}

export async function executeCommand({ ranks }: Gang): Promise<void> {
  await onEveryRank(ranks, async (rank) => {
    const exit = await nodeActivities(rank, `Rank ${rank.rank} on ${rank.node}: run the command`).execute(
      rank,
    );
    const failure = exitFailure(exit);
    if (failure) throw new GangFailed({ ...failure, failedAt: exit.finishedAt });
  });
}

/**
 * The node, among those that said nothing of their ranks, that no longer answers: then the failure of another rank may
 * only be that it lost its peer. A node that lives carries the order to stop out, also under its next agent.
 */
export async function nodeThatIsSilent(ranks: readonly RankExecution[]): Promise<string | undefined> {
  const answers = await Promise.all(
    ranks.map(async (rank) => {
      const node = lastCalls(rank, `Rank ${rank.rank} on ${rank.node}: stop; is the node there?`);
      try {
        await node['stop-container'](orderFor(rank));
        return undefined;
      } catch (error) {
        // A node whose Docker does not answer has answered itself.
        return isTimeout(error) ? rank.node : undefined;
      }
    }),
  );
  return answers.find((node) => node !== undefined);
}

/** The orders to stop that the ranks of a gang have got, and what came of them. */
export class StopOrders {
  /** How each container ended whose node has answered. */
  readonly ends: ContainerStop[] = [];
  given = false;
  private open = 0;

  /**
   * Tells every node of the gang to stop its container now. An order of its own, because a cancelled activity hears of
   * it with the answer to its next heartbeat only. Who does not answer is stopped by the removal of its container.
   */
  give({ ranks }: Gang): void {
    this.given = true;
    for (const rank of ranks) void this.giveTo(rank);
  }

  /** Resolves when all have answered; soon, when some do not. To be asked when the containers are gone. */
  async untilAnswered(): Promise<void> {
    if (this.open > 0) await condition(() => this.open === 0, ANSWER_MS);
  }

  private async giveTo(rank: RankExecution): Promise<void> {
    this.open += 1;
    const node = stopOrders(rank, `Rank ${rank.rank} on ${rank.node}: stop`);
    try {
      this.ends.push(await node['stop-container'](orderFor(rank)));
    } catch {
      // A node that is away; its answer only tells how the container ended.
    }
    this.open -= 1;
  }
}

/**
 * Returns when no container of the gang is left: proven by its node, or because the lease of a lost node has run out,
 * after which the node has ended it by itself.
 */
export async function removeContainers({ ranks }: Gang, interruptions: Interruptions): Promise<void> {
  await Promise.all(ranks.map((rank) => untilGone(rank, interruptions)));
}

async function untilGone(rank: RankExecution, interruptions: Interruptions): Promise<void> {
  if (interruptions.isLeaseOver(rank.node)) return;
  const scope = new CancellationScope({ cancellable: true });
  await scope.run(async () => {
    await Promise.race([remove(rank, interruptions), interruptions.untilLeaseIsOver(rank.node)]);
  });
  scope.cancel();
}

async function remove(rank: RankExecution, interruptions: Interruptions): Promise<void> {
  if (interruptions.isLost(rank.node)) return await removeInTime(rank, interruptions);
  let isGone = false;
  const removal = removeWithGrace(rank).then(() => void (isGone = true));
  await Promise.race([removal, interruptions.untilLost(rank.node)]);
  if (isGone) return;
  // The grace that was ordered may be longer than the lease of the lost node, which may be back at any moment.
  if (patched('lost-while-removing')) await Promise.race([removal, removeInTime(rank, interruptions)]);
  else await removal;
}

async function removeWithGrace(rank: RankExecution): Promise<void> {
  for (let pauseMs = REMOVE_AGAIN_MS.first; ; pauseMs = Math.min(2 * pauseMs, REMOVE_AGAIN_MS.most)) {
    try {
      await removals(rank, removalSummary(rank))['remove-container'](orderFor(rank));
      return;
    } catch (error) {
      if (isCancellation(error)) return;
      // As long as the container may live, its GPUs are not free.
      await sleep(pauseMs, { summary: 'The container could not be removed' });
    }
  }
}

/**
 * Of a lost node, that may come back: such that whenever it takes the order, the container is gone before others may have
 * its place. What is left of the lease is shared between the time to take the order and the grace, again and again.
 */
async function removeInTime(rank: RankExecution, interruptions: Interruptions): Promise<void> {
  for (;;) {
    const leftMs = interruptions.leaseLeftMs(rank.node);
    const graceMs = Math.max(0, Math.min(rank.graceMs, leftMs / 2 - REMOVAL_SLACK_MS));
    const takenWithinMs = Math.max(leftMs - graceMs - REMOVAL_SLACK_MS, leftMs / 2, 1);
    const node = removals(rank, removalSummary(rank), takenWithinMs);
    try {
      await node['remove-container']({ ...orderFor(rank), graceMs });
      return;
    } catch (error) {
      if (isCancellation(error)) return;
      // What is left is a matter of its guard.
      if (interruptions.leaseLeftMs(rank.node) < REMOVAL_SLACK_MS) {
        return await interruptions.untilLeaseIsOver(rank.node);
      }
      if (!isNotTaken(error)) await sleep(REMOVAL_SLACK_MS, { summary: 'It could not be removed' });
    }
  }
}

const removalSummary = ({ rank, node }: RankExecution): string =>
  `Rank ${rank} on ${node}: remove the container`;

function isTimeout(error: unknown): boolean {
  return error instanceof ActivityFailure && error.cause instanceof TimeoutFailure;
}

/** No agent has begun with it. */
function isNotTaken(error: unknown): boolean {
  const cause = error instanceof ActivityFailure ? error.cause : undefined;
  return cause instanceof TimeoutFailure && cause.timeoutType === TimeoutType.SCHEDULE_TO_START;
}

const orderFor = (rank: RankExecution) => ({ ...assignmentOf(rank), graceMs: rank.graceMs });

/** What an activity's or a gang's error means for the run. */
export function failureOf(error: unknown): RunFailure {
  if (error instanceof GangFailed) return error.failure;
  const cause = error instanceof ActivityFailure ? error.cause : error;
  if (cause instanceof ApplicationFailure && isFailureType(cause.type)) {
    const [details] = cause.details ?? [];
    return { ...(details as Partial<RunFailure> | undefined), type: cause.type, message: cause.message };
  }
  if (cause instanceof TimeoutFailure) {
    return { type: 'NodeLost', message: 'The node agent no longer answers.' };
  }
  return { type: 'AgentError', message: cause instanceof Error ? cause.message : String(cause) };
}

async function onEveryRank(
  ranks: readonly RankExecution[],
  step: (rank: RankExecution) => Promise<void>,
): Promise<void> {
  const scope = new CancellationScope();
  const failures: RunFailure[] = [];
  const silent: RankExecution[] = [];
  let cancelled: unknown;
  await scope.run(() =>
    Promise.all(
      ranks.map(async (rank) => {
        try {
          await step(rank);
        } catch (error) {
          if (isSilent(error)) silent.push(rank);
          if (isCancellation(error)) cancelled = error;
          else failures.push(failureOfRank(rank, error));
          // The others would wait for this rank until their collective operations time out.
          scope.cancel();
        }
      }),
    ),
  );
  const failure = rootCause(failures);
  if (failure) throw new GangFailed(failure, silent);
  if (cancelled) throw cancelled;
}

/** True when an activity ended without a word from its node about the container. */
function isSilent(error: unknown): boolean {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  if (cause instanceof TimeoutFailure) return true;
  return cause instanceof CancelledFailure && (cause.details ?? []).length === 0;
}

function failureOfRank(rank: RankExecution, error: unknown): RunFailure {
  const failure = { failedAt: new Date().toISOString(), ...failureOf(error) };
  const where = rank.numNodes > 1 ? `Rank ${rank.rank} on ${rank.node}: ` : '';
  return { ...failure, message: `${where}${failure.message}`, rank: rank.rank, node: rank.node };
}

function assignmentOf({
  run,
  resumption,
  rank,
  cluster,
  node,
  fence,
  gpuIds,
}: RankExecution): RankAssignment {
  return { run, resumption, rank, cluster, node, fence, gpuIds };
}
