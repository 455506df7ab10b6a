/** The ranks of a lease: together, or not at all. One failing rank ends the others. */
import {
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  condition,
  TimeoutFailure,
  isCancellation,
  sleep,
} from '@temporalio/workflow';
import type { ContainerStop, RankAssignment, RankExecution } from '../activities/contract.ts';
import type { Lease } from '../core/cluster.ts';
import { exitFailure, isFailureType, rootCause } from '../core/failures.ts';
import type { RunFailure } from '../core/failures.ts';
import type { RunInput } from '../core/run.ts';
import type { ResourceRequest, RunSpec } from '../core/run-spec.ts';
import { TRACKER_NAMES, trackersInContainer, trackersOf } from '../core/tracking.ts';
import type { OpenedTrackers, RunEnd } from '../core/tracking.ts';
import type { Interruptions } from './interruptions.ts';
import { containerReports, nodeActivities, removals, stopOrders, trackerOpenings } from './run-activities.ts';

/** The answer to a stop is on its way when the container is gone. */
const ANSWER_MS = 1_000;
/** A Docker daemon that refuses is asked again ever more rarely: it may do so for days, and a history has its limits. */
const REMOVE_AGAIN_MS = { first: 10_000, most: 300_000 };

/** Thrown when at least one rank failed; carries the failure that stands for all. */
class GangFailed extends Error {
  readonly failure: RunFailure;

  constructor(failure: RunFailure) {
    super(failure.message);
    this.name = 'GangFailed';
    this.failure = failure;
  }
}

export interface Gang {
  readonly spec: RunSpec;
  readonly lease: Lease;
  readonly ranks: readonly RankExecution[];
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
export async function pullImagesAndOpenTrackers(gang: Gang): Promise<Gang> {
  const opening = openTrackers(gang);
  try {
    await pullImages(gang);
  } finally {
    await opening;
  }
  const tracking = await opening;
  return { ...gang, ranks: gang.ranks.map((rank) => ({ ...rank, tracking })) };
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

/** The orders to stop that the ranks of a gang have got, and what came of them. */
export class StopOrders {
  /** How each container ended whose node has answered. */
  readonly ends: ContainerStop[] = [];
  private open = 0;

  /**
   * Tells every node of the gang to stop its container now. An order of its own, because a cancelled activity hears of
   * it with the answer to its next heartbeat only. Who does not answer is stopped by the removal of its container.
   */
  give({ ranks }: Gang): void {
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
    await Promise.race([remove(rank), interruptions.untilLeaseIsOver(rank.node)]);
  });
  scope.cancel();
}

async function remove(rank: RankExecution): Promise<void> {
  for (let pauseMs = REMOVE_AGAIN_MS.first; ; pauseMs = Math.min(2 * pauseMs, REMOVE_AGAIN_MS.most)) {
    try {
      await removals(rank, `Rank ${rank.rank} on ${rank.node}: remove the container`)['remove-container'](
        orderFor(rank),
      );
      return;
    } catch (error) {
      // The node may not have answered because its lease is over.
      if (isCancellation(error)) return;
      // As long as the container may live, its GPUs are not free.
      await sleep(pauseMs, { summary: 'The container could not be removed' });
    }
  }
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
  let cancelled: unknown;
  await scope.run(() =>
    Promise.all(
      ranks.map(async (rank) => {
        try {
          await step(rank);
        } catch (error) {
          if (isCancellation(error)) cancelled = error;
          else failures.push(failureOfRank(rank, error));
          // The others would wait for this rank until their collective operations time out.
          scope.cancel();
        }
      }),
    ),
  );
  const failure = rootCause(failures);
  if (failure) throw new GangFailed(failure);
  if (cancelled) throw cancelled;
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
