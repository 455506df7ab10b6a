/** Runs, as clients see them: submit, list, describe, watch, stop, delete. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  WithStartWorkflowOperation,
  WorkflowNotFoundError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
} from '@temporalio/client';
import type { Client } from '@temporalio/client';
import {
  clusterWorkflowId,
  CONTROL_QUEUE,
  RUN_SUFFIX_ALPHABET,
  RUN_SUFFIX_LENGTH,
  trackingWorkflowId,
  WORKFLOW_TYPES,
} from '../core/naming.ts';
import type { RankReport } from '../core/rank-report.ts';
import { DEFAULT_GRACE_MS } from '../core/run.ts';
import type { RunInput } from '../core/run.ts';
import type { Construction, RunSpec, SchedulingRequest } from '../core/run-spec.ts';
import { userFault } from '../core/secret.ts';
import {
  constructedUpdate,
  queuePositionQuery,
  schedulingUpdate,
  stopSignal,
} from '../workflows/messages.ts';
import type { QueuePosition, SchedulingChange, StopOrder } from '../workflows/messages.ts';
import type { Connections } from './connection.ts';
import { RunNotFound, RunSilent, UserInvalid } from './errors.ts';
import { GRPC, grpcCode } from './grpc-codes.ts';
import { heartbeatsOf, heartbeatsOfAll } from './heartbeats.ts';
import type { Heartbeat } from './heartbeats.ts';
import { RankFailures } from './rank-failures.ts';
import type { HistoryEvent, RankFailure } from './rank-failures.ts';
import { RunHistory } from './run-history.ts';
import type { RunDetails } from './run-history.ts';
import { listRuns, quoted } from './run-list.ts';
import type { RunFilter, RunSummary } from './run-list.ts';
import { trackersOfRun } from './run-trackers.ts';
import type { TrackerState } from './run-trackers.ts';

export interface Submission {
  readonly spec: RunSpec;
  readonly submittedYaml: string;
  readonly user: string;
}

export interface Submitted {
  /** The run's own name: the submitted one and a suffix. */
  readonly run: string;
  readonly construction: Construction;
}

export class Runs {
  private readonly connections: Connections;

  constructor(connections: Connections) {
    this.connections = connections;
  }

  /**
   * Starts the run and waits for the answer of its construction, in one round trip.
   * @throws UserInvalid
   */
  async submit(submission: Submission): Promise<Submitted> {
    const { spec, submittedYaml, user } = submission;
    const fault = userFault(user);
    if (fault !== undefined) throw new UserInvalid(user, fault);
    const client = await this.connections.temporal();
    const { gracePeriodSeconds } = spec.scheduling;
    const graceMs = gracePeriodSeconds === undefined ? DEFAULT_GRACE_MS : gracePeriodSeconds * 1_000;
    const run = `${spec.name}-${randomSuffix()}`;
    const input: RunInput = { spec, submittedYaml, user, graceMs };
    const construction = await client.workflow.executeUpdateWithStart(constructedUpdate, {
      startWorkflowOperation: new WithStartWorkflowOperation(WORKFLOW_TYPES.run, {
        workflowId: run,
        taskQueue: CONTROL_QUEUE,
        args: [input],
        // A repeated request is the same run.
        workflowIdConflictPolicy: 'USE_EXISTING',
        staticSummary: `${spec.name}: ${spec.image}`,
        staticDetails: `\`\`\`yaml\n${submittedYaml}\n\`\`\``.slice(0, MAX_DETAILS_BYTES),
      }),
    });
    return { run, construction };
  }

  /** Newest first by creation, at most `limit`. */
  async list(filter: RunFilter = {}, limit = Infinity): Promise<RunSummary[]> {
    return await listRuns(await this.connections.temporal(), filter, limit);
  }

  /** @throws RunNotFound */
  async describe(run: string): Promise<RunDetails> {
    const client = await this.connections.temporal();
    const history = new RunHistory(client, run);
    for (const event of await this.events(client, run)) await history.add(event);
    const details = history.current();
    if (!details || details.rejected) throw new RunNotFound(run);
    return details;
  }

  /**
   * What ended a resumption early, of the rank that failed first; undefined where none failed by itself.
   * @throws RunNotFound
   */
  async firstFailure(run: string, resumption: number): Promise<RankFailure | undefined> {
    const client = await this.connections.temporal();
    const [history, failures] = [new RunHistory(client, run), new RankFailures(client)];
    for (const event of await this.events(client, run)) {
      await history.add(event);
      await failures.add(event);
    }
    return failures.first({ resumption, lifecycle: history.current()?.lifecycle ?? [] });
  }

  /**
   * The run's details whenever they change, until it has ended: follows the history with long polls, so that a change
   * is seen as it happens.
   * @throws RunNotFound
   */
  async *watch(run: string, signal?: AbortSignal): AsyncGenerator<RunDetails> {
    const client = await this.connections.temporal();
    const history = new RunHistory(client, run);
    let nextPageToken: Uint8Array | undefined;
    for (;;) {
      const page = await this.nextEvents(client, run, nextPageToken, signal);
      if (signal?.aborted) return;
      for (const event of page.history?.events ?? []) await history.add(event);
      const details = history.current();
      if (details && (page.history?.events?.length ?? 0) > 0) yield details;
      if (details?.closed || !page.nextPageToken?.length) return;
      nextPageToken = page.nextPageToken;
    }
  }

  /** `undefined` where the run does not wait, or nobody answers within `withinMs`. */
  async queuePosition(
    run: string,
    cluster: string,
    withinMs = POSITION_MS,
  ): Promise<QueuePosition | undefined> {
    const client = await this.connections.temporal();
    const handle = client.workflow.getHandle(clusterWorkflowId(cluster));
    try {
      const place = await client.connection.withDeadline(Date.now() + withinMs, () =>
        handle.query(queuePositionQuery, run),
      );
      return place ?? undefined;
    } catch {
      // Where a run waits is a courtesy: without a worker that could tell, everything else still works.
      return undefined;
    }
  }

  /**
   * Changes how a run is scheduled, and answers with what is in force; the cluster has been told by then.
   * @throws RunNotFound when the run is unknown or has ended
   * @throws RunSilent when no worker carries the change out in time
   */
  async changeScheduling(run: string, change: SchedulingChange): Promise<SchedulingRequest> {
    const client = await this.connections.temporal();
    try {
      return await client.connection.withDeadline(Date.now() + CHANGE_MS, () =>
        client.workflow.getHandle(run).executeUpdate(schedulingUpdate, { args: [change] }),
      );
    } catch (error) {
      if (error instanceof WorkflowUpdateRPCTimeoutOrCancelledError) throw new RunSilent(run, error);
      throw notFound(error, run);
    }
  }

  /** What the activities that the run has open now have last said of themselves. */
  async heartbeats(run: string): Promise<readonly Heartbeat[]> {
    return await heartbeatsOf(await this.connections.temporal(), run);
  }

  /** What is known of the ranks whose command runs now, by run; runs of which nobody knows anything are missing. */
  async reports(runs: readonly string[]): Promise<ReadonlyMap<string, readonly RankReport[]>> {
    const heartbeats = await heartbeatsOfAll(await this.connections.temporal(), runs);
    const reports = [...heartbeats].map(([run, beats]) => [run, rankReports(beats)] as const);
    return new Map(reports.filter(([, ranks]) => ranks.length > 0));
  }

  /** Where the run is seen in its experiment trackers, and whether they know how it has ended. */
  async trackers(run: RunDetails): Promise<readonly TrackerState[]> {
    return await trackersOfRun(await this.connections.temporal(), run);
  }

  /**
   * Asks the run to stop; it ends when its containers are gone.
   * @throws RunNotFound when the run is unknown or has ended
   */
  async stop(run: string, order: StopOrder): Promise<void> {
    const client = await this.connections.temporal();
    try {
      await client.workflow.getHandle(run).signal(stopSignal, order);
    } catch (error) {
      throw notFound(error, run);
    }
  }

  /**
   * Removes an ended run from every list, with its history; resolves when it is gone. Temporal takes its time with a run
   * that has only just ended.
   * @throws RunNotFound
   */
  async delete(run: string): Promise<void> {
    const client = await this.connections.temporal();
    const remove = (workflowId: string) =>
      client.workflowService.deleteWorkflowExecution({
        namespace: client.options.namespace,
        workflowExecution: { workflowId },
      });
    try {
      await remove(run);
      // Also one that still tries: there is nothing left that it could tell.
      await remove(trackingWorkflowId(run)).catch(unlessNotFound);
    } catch (error) {
      throw notFound(error, run);
    }
    const deadline = Date.now() + DELETION_MS;
    while (Date.now() < deadline) {
      const found = await client.workflow.count(`WorkflowId = ${quoted(run)}`);
      if (found.count === 0) return;
      await sleep(RECONNECT_MS);
    }
  }

  private async events(client: Client, run: string): Promise<readonly HistoryEvent[]> {
    try {
      return (await client.workflow.getHandle(run).fetchHistory()).events ?? [];
    } catch (error) {
      throw notFound(error, run);
    }
  }

  private async nextEvents(
    client: Client,
    run: string,
    nextPageToken: Uint8Array | undefined,
    signal: AbortSignal | undefined,
  ) {
    const request = {
      namespace: client.options.namespace,
      execution: { workflowId: run },
      waitNewEvent: true,
      ...(nextPageToken ? { nextPageToken } : {}),
    };
    for (;;) {
      const deadline = Date.now() + LONG_POLL_MS;
      const poll = (): Promise<HistoryPage> =>
        client.connection.withDeadline(deadline, () =>
          client.workflowService.getWorkflowExecutionHistory(request),
        );
      try {
        return await (signal ? client.connection.withAbortSignal(signal, poll) : poll());
      } catch (error) {
        if (signal?.aborted) return EMPTY_PAGE;
        // The server answers an idle poll with an empty page; a deadline or a lost connection is no answer at all.
        if (!isTransient(error)) throw notFound(error, run);
        await sleep(RECONNECT_MS);
      }
    }
  }
}

function rankReports(beats: readonly Heartbeat[]): RankReport[] {
  return beats
    .filter(({ activity, details }) => activity === 'execute' && details !== undefined)
    .map(({ details }) => details as RankReport)
    .sort((a, b) => a.rank - b.rank);
}

type HistoryPage = Awaited<ReturnType<Client['workflowService']['getWorkflowExecutionHistory']>>;
const EMPTY_PAGE = { nextPageToken: new Uint8Array() } as HistoryPage;

/** The server keeps an idle poll for 20 s or so; balancers and proxies allow a minute. */
const LONG_POLL_MS = 70_000;
const RECONNECT_MS = 500;
/** After this a deletion goes on without a witness. */
const DELETION_MS = 30_000;
/** A person waits for the rest of what was asked. */
const POSITION_MS = 1_000;
/** Two activities' worth: a worker that restarts is back before this. */
const CHANGE_MS = 20_000;
/** The Web UI shows the beginning of the file; the whole is in the workflow's input. */
const MAX_DETAILS_BYTES = 20_000;

function isTransient(error: unknown): boolean {
  return [GRPC.deadlineExceeded, GRPC.unavailable].includes(grpcCode(error) as number);
}

function unlessNotFound(error: unknown): void {
  if (grpcCode(error) !== GRPC.notFound) throw error;
}

function notFound(error: unknown, run: string): unknown {
  const missing = error instanceof WorkflowNotFoundError || grpcCode(error) === GRPC.notFound;
  return missing ? new RunNotFound(run) : error;
}

function randomSuffix(): string {
  const random = crypto.getRandomValues(new Uint32Array(RUN_SUFFIX_LENGTH));
  return Array.from(random, (value) => RUN_SUFFIX_ALPHABET[value % RUN_SUFFIX_ALPHABET.length]).join('');
}
