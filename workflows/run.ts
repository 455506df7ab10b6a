/**
 * The life of a run: construct → for each resumption: wait for capacity → pull image → integrations → execute →
 * (always) remove the containers → complete. Whatever happens in between, a run that was accepted ends in exactly one
 * terminal status, and its capacity goes back only when its containers are gone.
 */
import {
  ActivityFailure,
  allHandlersFinished,
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  condition,
  patched,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { CapacityRequest, Lease } from '../core/cluster.ts';
import { describeStop, failureClass, isNodeFailure } from '../core/failures.ts';
import type { RunFailure } from '../core/failures.ts';
import { LONG_RUN_MS, MAX_SYSTEM_RETRIES } from '../core/run.ts';
import type { RunInput, RunOutcome } from '../core/run.ts';
import type { Construction, ResourceRequest, SchedulingRequest } from '../core/run-spec.ts';
import type { RunStatus } from '../core/run-status.ts';
import { trackersOf } from '../core/tracking.ts';
import type { OpenedTrackers } from '../core/tracking.ts';
import {
  assembleGang,
  executeCommand,
  failureOf,
  GangFailed,
  nodeThatIsSilent,
  pullImages,
  pullImagesAndOpenTrackers,
  removeContainers,
  reportInContainer,
  runIntegrations,
  StopOrders,
} from './gang.ts';
import type { Gang } from './gang.ts';
import { Interruptions } from './interruptions.ts';
import {
  clusterRestartedSignal,
  constructedUpdate,
  leaseGrantedSignal,
  leaseRevokedSignal,
  schedulingUpdate,
  stopSignal,
} from './messages.ts';
import type { GrantedLease, SchedulingChange, StopOrder } from './messages.ts';
import { constructionActivities, controlActivities } from './run-activities.ts';
import { showConstructed, showPriority, showStatus } from './run-status-board.ts';
import { TimeLimit } from './time-limit.ts';
import { reportLater } from './tracking.ts';

/** Of 51,200 and 50 MB: a resumption of many ranks takes some thousand events, and twice its file for each rank. */
const MAX_HISTORY_EVENTS = 40_000;
const MAX_HISTORY_BYTES = 30 * 1024 ** 2;

/** A rejected run answers with its construction, and leaves no trace in `get runs`. */
export async function run(input: RunInput): Promise<RunOutcome | Construction> {
  let construction: Construction | undefined;
  setHandler(constructedUpdate, async () => {
    await condition(() => construction !== undefined);
    return construction as Construction;
  });
  const interruptions = new Interruptions();
  setHandler(stopSignal, (order) => interruptions.interrupt(stopped(order)));
  const grants: GrantedLease[] = [];
  setHandler(leaseGrantedSignal, (grant) => void grants.push(grant));
  setHandler(leaseRevokedSignal, (revocation) => interruptions.revoke(revocation));
  // Cancelling the workflow, for instance in the Web UI, is a stop like any other.
  CancellationScope.current().cancelRequested.catch(() =>
    interruptions.interrupt(stopped({ by: 'Temporal' })),
  );

  let live: LiveRun | undefined;
  setHandler(
    schedulingUpdate,
    async (change) => {
      // After a cancellation nothing can be waited for in this scope, be it there already.
      const isCancelled = CancellationScope.current().consideredCancelled;
      if (live === undefined || !isCancelled) await condition(() => live !== undefined);
      return await (live as LiveRun).changeScheduling(change);
    },
    { validator: refuseNonsense },
  );
  setHandler(clusterRestartedSignal, async (firstFence) => live?.clusterRestarted(firstFence));

  return await CancellationScope.nonCancellable(async () => {
    const answer = await constructRun(input);
    construction = answer;
    if (!answer.accepted) return answer;
    live = new LiveRun(input, answer.resources, interruptions, grants);
    const outcome = await live.live();
    await live.reportToTrackers();
    // A change that came last still gets its answer.
    await condition(allHandlersFinished);
    return finish(outcome);
  });
}

/** JSON makes null of what is no number, and clients other than `mcli` may send anything. */
function refuseNonsense({ maxRetries, maxDurationHours }: SchedulingChange): void {
  for (const [name, value] of Object.entries({ maxRetries, maxDurationHours })) {
    if (value === undefined || (Number.isFinite(value) && value >= 0)) continue;
    throw ApplicationFailure.nonRetryable(`${name} must be a number from 0 on, and is ${value}`);
  }
}

/** What handlers start is of the workflow's own scope, which ends when it is cancelled in Temporal; the run goes on. */
function outlivingCancellation(work: () => Promise<void>): Promise<void> {
  return patched('handlers-outlive-cancellation') ? CancellationScope.nonCancellable(work) : work();
}

async function constructRun({ spec }: RunInput): Promise<Construction> {
  try {
    return await constructionActivities(`Validate ${spec.name}`).construct({ spec });
  } catch (error) {
    return {
      accepted: false,
      problems: [
        {
          message: `Run ${spec.name} could not be constructed: the clusters do not answer`,
          why: error instanceof ActivityFailure && error.cause ? error.cause.message : String(error),
          fix: 'Try again. If it stays so, look at the cluster/… workflows in the Web UI, and at the cluster worker.',
        },
      ],
    };
  }
}

class LiveRun {
  private readonly name = workflowInfo().workflowId;
  private readonly input: RunInput;
  private readonly resources: ResourceRequest;
  private readonly interruptions: Interruptions;
  private readonly grants: GrantedLease[];
  /** Grants with lower fencing numbers are of an earlier life of the cluster, and came late. */
  private firstFence = 0;
  private resumption = 0;
  private readonly timeLimit: TimeLimit;
  private lease: Lease | undefined;
  /** From the grant to the end of the resumption. */
  private gang: Gang | undefined;
  /** Of the last lease, in the order of the ranks. */
  private lastNodes: readonly string[] | undefined;
  private readonly isTracked: boolean;
  private stops = new StopOrders();
  private terminating = false;
  private scheduling: SchedulingRequest;
  /** True from the request for capacity to its release: the cluster knows of this resumption. */
  private registered = false;
  /** Must be over before the release is sent: a request that comes after it would hold the capacity for ever. */
  private readonly askings = new Set<Promise<void>>();
  private systemRetries = 0;
  private userRetries = 0;
  /** True when no further resumption fits in the history. */
  private isExhausted = false;
  /** When the command of this resumption was started, in epoch milliseconds. */
  private runsSince: number | undefined;
  /** What the trackers have answered last. */
  private trackers: OpenedTrackers | undefined;

  constructor(
    input: RunInput,
    resources: ResourceRequest,
    interruptions: Interruptions,
    grants: GrantedLease[],
  ) {
    this.input = input;
    this.resources = resources;
    this.interruptions = interruptions;
    this.grants = grants;
    this.isTracked = trackersOf(input.spec).length > 0 && patched('trackers');
    this.scheduling = input.spec.scheduling;
    this.timeLimit = new TimeLimit(
      () => this.scheduling.maxDurationHours,
      (message) => interruptions.interrupt({ type: 'MaxDuration', message }),
    );
    interruptions.onInterrupt = (cause) => {
      if (this.lease) this.terminate(cause);
      if (this.gang && patched('stop-container')) {
        const { stops, gang } = this;
        if (stops.given && patched('one-stop-order')) return;
        void outlivingCancellation(async () => stops.give(gang));
      }
    };
  }

  async changeScheduling(change: SchedulingChange): Promise<SchedulingRequest> {
    this.scheduling = { ...this.scheduling, ...change };
    if (change.priority !== undefined) showPriority(change.priority);
    await this.askAgain();
    return this.scheduling;
  }

  /** Tells the cluster again what this resumption wants, or holds. */
  async askAgain(): Promise<void> {
    if (!this.registered) return;
    const { cluster } = this.resources;
    const held = this.held();
    const asking = outlivingCancellation(() =>
      controlActivities(`Tell ${cluster} again`)['wait-for-capacity']({
        cluster,
        request: this.capacityRequest(),
        ...(held ? { held } : {}),
      }),
    );
    this.askings.add(asking);
    await asking.finally(() => this.askings.delete(asking));
  }

  /** The cluster knows nothing any more. What this run does not hold yet will be given to others. */
  async clusterRestarted(firstFence = 0): Promise<void> {
    if (!this.held()) this.firstFence = firstFence;
    if (this.registered) return await this.askAgain();
    // The cluster waits for everybody's word before it gives anything out.
    if (!patched('says-it-holds-nothing')) return;
    const { cluster } = this.resources;
    // Of one that is over: the answer may come when this run has asked for the capacity of the next.
    const nothing = { cluster, run: this.name, resumption: this.resumption - 1, ranToEnd: false };
    await outlivingCancellation(() => controlActivities(`Tell ${cluster} again`).complete(nothing));
  }

  private held(): Lease | undefined {
    return this.lease ?? this.granted()?.lease;
  }

  private granted(): GrantedLease | undefined {
    return this.grants.find(
      ({ lease }) => lease.request.resumption === this.resumption && lease.fence >= this.firstFence,
    );
  }

  async live(): Promise<RunOutcome> {
    showStatus(
      { run: this.name, status: 'PENDING', resumption: 0, reason: '', message: 'Constructed.' },
      showConstructed(this.input, this.resources),
    );
    for (;;) {
      const failure = await this.resume();
      const resumes = this.mayResume(failure);
      const isQueued = resumes && this.waitsForLostNode();
      if (this.gang) {
        this.terminate(failure);
        // Everybody shall see at once that the run goes on, and when.
        if (isQueued) this.showQueuedAgain(failure);
        else if (!resumes && this.isTracked) await reportInContainer(this.gang, this.outcome(failure));
        await removeContainers(this.gang, this.interruptions);
        await this.stops.untilAnswered();
      }
      await this.giveBack(failure);
      if (!resumes) return this.end(failure);
      // It is this resumption that everybody sees already.
      if (isQueued) this.resumption += 1;
      // Whoever stops a run that waits for its next resumption ends it.
      if (this.interruptions.final) return this.end(this.interruptions.cause);
      if (!isQueued) {
        this.showQueuedAgain(failure);
        this.resumption += 1;
      }
      this.interruptions.clear();
      this.lease = undefined;
      // A stop ends the back-off.
      await condition(() => this.interruptions.cause !== undefined, this.backoffMs(failure));
    }
  }

  /** Of a run that had capacity once. */
  async reportToTrackers(): Promise<void> {
    if (!this.lastNodes || !this.isTracked || !trackersOf(this.input.spec).includes('mlflow')) return;
    await reportLater({ run: this.name, cluster: this.resources.cluster, nodes: this.lastNodes });
  }

  /** One resumption, from the request for capacity to its end. Answers with what ended it early. */
  private async resume(): Promise<RunFailure | undefined> {
    this.gang = undefined;
    this.stops = new StopOrders();
    this.terminating = false;
    this.runsSince = undefined;
    try {
      await this.interruptions.guard(this.resumption, async () => {
        this.gang = await this.waitForCapacity();
        this.show('STARTING', undefined, `Pulling ${this.input.spec.image}.`);
        if (this.isTracked) {
          this.gang = await pullImagesAndOpenTrackers(this.gang, this.trackers);
          this.trackers = this.gang.tracking;
        } else await pullImages(this.gang);
        // What was under way when the end was ordered may still have come to its own end.
        if (this.terminating) throw new CancelledFailure('Interrupted.');
        this.timeLimit.start();
        this.runsSince = Date.now();
        this.show('RUNNING', undefined, 'The integrations run, then the command.');
        await runIntegrations(this.gang);
        await executeCommand(this.gang);
      });
      return undefined;
    } catch (error) {
      return this.interruptions.cause ?? (await this.judge(error));
    }
  }

  /** A program that loses its peer ends with an exit code of its own, seconds before the loss of the node is noticed. */
  private async judge(thrown: unknown): Promise<RunFailure> {
    const failure = failureOf(thrown);
    const silent = thrown instanceof GangFailed && failure.exitCode !== undefined ? thrown.silent : [];
    if (silent.length === 0 || !patched('asks-silent-nodes')) return failure;
    this.terminating = true;
    const nodes = [...new Set(silent.map(({ node }) => node))].join(', ');
    this.show('TERMINATING', undefined, `${failure.message} Asking ${nodes}, which said nothing.`);
    const answer = nodeThatIsSilent(silent);
    await Promise.race([answer, this.interruptions.untilInterrupted()]);
    if (this.interruptions.cause) return this.interruptions.cause;
    const lost = await answer;
    if (lost === undefined) return failure;
    const message = `Node ${lost} no longer answers. Before that was noticed: ${failure.message}`;
    return { type: 'NodeLost', message };
  }

  private async giveBack(failure: RunFailure | undefined): Promise<void> {
    this.registered = false;
    const askings = [...this.askings];
    // A run of an earlier build waited for the last one only.
    if (askings.length > 1 && patched('all-askings')) await Promise.all(askings);
    else await askings.at(-1);
    const { node, message = '' } = failure ?? {};
    const speaksAgainstNode = failure && isNodeFailure(failure.type) && node !== undefined;
    await controlActivities(`Give back the capacity of resumption ${this.resumption}`).complete({
      cluster: this.resources.cluster,
      run: this.name,
      resumption: this.resumption,
      ranToEnd: failure === undefined || failure.exitCode !== undefined,
      ...(speaksAgainstNode ? { nodeFailure: { node, message } } : {}),
    });
  }

  /** True while a node that no longer answers may still run its container. */
  private waitsForLostNode(): boolean {
    return (this.interruptions.lastLeaseEnd ?? 0) > Date.now();
  }

  /** Shown from the order on, and not only when the containers have obeyed it. */
  private terminate(failure: RunFailure | undefined): void {
    if (this.terminating) return;
    this.terminating = true;
    this.show('TERMINATING', failure);
  }

  private async waitForCapacity(): Promise<Gang> {
    if (this.resumption === 0) this.show('QUEUED', undefined, 'Waiting for capacity.');
    const { cluster } = this.resources;
    this.registered = true;
    // Only a run that was reset has grants already, of resumptions that are over.
    this.grants.length = 0;
    await controlActivities(`Ask ${cluster} for ${this.resources.gpus} GPUs`)['wait-for-capacity']({
      cluster,
      request: this.capacityRequest(),
    });
    await condition(() => this.granted() !== undefined);
    const { lease, masterAddress } = this.granted() as GrantedLease;
    this.lease = lease;
    this.lastNodes = [...new Set(lease.ranks.map(({ node }) => node))];
    return assembleGang(this.input, this.resources, lease, masterAddress);
  }

  private capacityRequest(): CapacityRequest {
    const { spec, user } = this.input;
    const { gpuType, gpus, nodes, gpusPerNode, nodeNames } = this.resources;
    const leftMs = this.timeLimit.left();
    const held = this.held();
    return {
      run: this.name,
      resumption: this.resumption,
      user,
      name: spec.name,
      priority: this.scheduling.priority,
      preemptible: this.scheduling.preemptible,
      gpuType,
      gpus,
      nodes,
      gpusPerNode,
      nodeNames,
      createdAt: workflowInfo().startTime.getTime(),
      // Counted from the lease, where there is one.
      ...(leftMs === undefined ? {} : { maxDurationMs: leftMs + (held ? Date.now() - held.grantedAt : 0) }),
    };
  }

  /** Counts the failure, and tells whether another resumption follows it. */
  private mayResume(failure: RunFailure | undefined): boolean {
    if (!failure || this.interruptions.final || !this.isWorthAnother(failure)) return false;
    this.isExhausted = isHistoryFull();
    return !this.isExhausted;
  }

  private isWorthAnother({ type }: RunFailure): boolean {
    const { retryOnSystemFailure, maxRetries } = this.scheduling;
    if (type === 'Preempted') return true;
    if (failureClass(type).blame === 'system') {
      if (this.ranLong()) this.systemRetries = 0;
      this.systemRetries += 1;
      return retryOnSystemFailure && this.systemRetries <= MAX_SYSTEM_RETRIES;
    }
    this.userRetries += 1;
    return this.userRetries <= maxRetries;
  }

  /** Over months, nodes may be lost more often than ever in a row. */
  private ranLong(): boolean {
    const { runsSince, systemRetries } = this;
    if (runsSince === undefined || systemRetries === 0) return false;
    return Date.now() - runsSince >= LONG_RUN_MS && patched('long-runs-are-healthy');
  }

  /** A run that gives way keeps its place in the queue. */
  private backoffMs(failure: RunFailure | undefined): number {
    const earlierBuilds = backoffMs(this.systemRetries);
    const retries = { system: this.systemRetries, user: this.userRetries, order: 0 };
    const ms = backoffMs(failure ? retries[failureClass(failure.type).blame] : 0);
    return ms !== earlierBuilds && patched('back-off-by-blame') ? ms : earlierBuilds;
  }

  private end(failure: RunFailure | undefined): RunOutcome {
    const { reason, ...outcome } = this.outcome(failure);
    const { status, message } = outcome;
    showStatus({
      run: this.name,
      status,
      resumption: this.resumption,
      reason,
      message,
      lease: this.lease,
      endedAt: new Date(),
    });
    return outcome;
  }

  private outcome(failure: RunFailure | undefined): RunOutcome & { readonly reason: string } {
    const message = [
      failure?.message ?? 'The command ended with exit code 0.',
      ...this.howItStopped(failure),
      ...(this.isExhausted ? ['It is not tried again: its history is as long as Temporal allows.'] : []),
    ].join(' ');
    return {
      status: failure ? failureClass(failure.type).status : 'COMPLETED',
      reason: failure ? failureClass(failure.type).reason : '',
      message,
      ...(failure ? { failure: failure.type } : {}),
      ...(failure?.exitCode === undefined ? {} : { exitCode: failure.exitCode }),
    };
  }

  private showQueuedAgain(failure: RunFailure | undefined): void {
    const { lastLeaseEnd } = this.interruptions;
    const wait =
      lastLeaseEnd !== undefined && lastLeaseEnd > Date.now()
        ? ` The run goes on elsewhere when that node has let go of it: ${new Date(lastLeaseEnd).toISOString()} at the latest.`
        : '';
    showStatus({
      run: this.name,
      status: 'QUEUED',
      resumption: this.resumption + 1,
      reason: failure ? failureClass(failure.type).reason : '',
      message: `${failure?.message ?? ''}${wait}`,
    });
  }

  /** What the command did with the order to stop; with several ranks, that of the last to obey. */
  private howItStopped(failure: RunFailure | undefined): string[] {
    if (!failure || failureClass(failure.type).blame !== 'order') return [];
    const last = this.stops.ends.toSorted((a, b) => (b.afterMs ?? 0) - (a.afterMs ?? 0))[0];
    const sentence = last && describeStop(last, this.input.graceMs);
    return sentence === undefined ? [] : [sentence];
  }

  private show(status: RunStatus, failure: RunFailure | undefined, message = ''): void {
    showStatus({
      run: this.name,
      status,
      resumption: this.resumption,
      reason: failure ? failureClass(failure.type).reason : '',
      message: failure?.message ?? message,
      lease: this.lease,
      startedAt: status === 'RUNNING' ? this.timeLimit.startedAt : undefined,
    });
  }
}

/** Temporal ends a workflow whose history is too long, without a chance to stop anything: this run ends before. */
function isHistoryFull(): boolean {
  const { historyLength, historySize } = workflowInfo();
  const isFull = historyLength > MAX_HISTORY_EVENTS || historySize > MAX_HISTORY_BYTES;
  return isFull && patched('history-limit');
}

function finish(outcome: RunOutcome): RunOutcome {
  if (outcome.status !== 'FAILED') return outcome;
  const { message, failure = 'AgentError' } = outcome;
  // Failed in Temporal, too: the Web UI shows it in red, and alerts on failed workflows see it.
  throw ApplicationFailure.create({ message, type: failure, nonRetryable: true, details: [outcome] });
}

function stopped({ by, reason }: StopOrder): RunFailure {
  return { type: 'StoppedByUser', message: `Stopped by ${by}${reason ? `: ${reason}` : ''}.` };
}

/** A first failure is retried at once; what keeps failing is not hammered. */
function backoffMs(retries: number): number {
  return retries <= 1 ? 0 : Math.min(60_000, 5_000 * 2 ** (retries - 2));
}
