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
import type { RunInput, RunOutcome } from '../core/run.ts';
import type { Construction, ResourceRequest, SchedulingRequest } from '../core/run-spec.ts';
import type { RunStatus } from '../core/run-status.ts';
import { trackersOf } from '../core/tracking.ts';
import type { OpenedTrackers } from '../core/tracking.ts';
import { CapacityClaim } from './capacity-claim.ts';
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
import { Interruptions, outlivingCancellation } from './interruptions.ts';
import {
  clusterRestartedSignal,
  constructedUpdate,
  leaseGrantedSignal,
  leaseRevokedSignal,
  schedulingUpdate,
  stopSignal,
} from './messages.ts';
import type { GrantedLease, SchedulingChange, StopOrder } from './messages.ts';
import { Retries } from './retries.ts';
import { constructionActivities } from './run-activities.ts';
import { showConstructed, showPriority, showStatus } from './run-status-board.ts';
import { TimeLimit } from './time-limit.ts';
import { reportLater } from './tracking.ts';

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
  private readonly claim: CapacityClaim;
  private readonly retries = new Retries();
  private resumption = 0;
  private readonly timeLimit: TimeLimit;
  /** From the grant to the end of the resumption. */
  private gang: Gang | undefined;
  /** Of the last lease, in the order of the ranks. */
  private lastNodes: readonly string[] | undefined;
  private readonly isTracked: boolean;
  private stops = new StopOrders();
  private terminating = false;
  private scheduling: SchedulingRequest;
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
    this.isTracked = trackersOf(input.spec).length > 0 && patched('trackers');
    this.scheduling = input.spec.scheduling;
    const { cluster, gpus } = resources;
    this.claim = new CapacityClaim(
      {
        run: this.name,
        cluster,
        gpus,
        resumption: () => this.resumption,
        request: (held) => this.capacityRequest(held),
      },
      grants,
    );
    this.timeLimit = new TimeLimit(
      () => this.scheduling.maxDurationHours,
      (message) => interruptions.interrupt({ type: 'MaxDuration', message }),
    );
    interruptions.onInterrupt = (cause) => {
      if (this.claim.lease) this.terminate(cause);
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
    await this.claim.askAgain();
    return this.scheduling;
  }

  clusterRestarted(firstFence: number | undefined): Promise<void> {
    return this.claim.clusterRestarted(firstFence);
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
      this.claim.lease = undefined;
      // A stop ends the back-off.
      await condition(() => this.interruptions.cause !== undefined, this.retries.pauseMs(failure));
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
    const { node, message = '' } = failure ?? {};
    const speaksAgainstNode = failure && isNodeFailure(failure.type) && node !== undefined;
    await this.claim.release({
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
    const { lease, masterAddress } = await this.claim.untilGranted();
    this.lastNodes = [...new Set(lease.ranks.map(({ node }) => node))];
    return assembleGang(this.input, this.resources, lease, masterAddress);
  }

  private capacityRequest(held: Lease | undefined): CapacityRequest {
    const { spec, user } = this.input;
    const { gpuType, gpus, nodes, gpusPerNode, nodeNames } = this.resources;
    const leftMs = this.timeLimit.left();
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

  private mayResume(failure: RunFailure | undefined): boolean {
    if (!failure || this.interruptions.final) return false;
    return this.retries.allow(failure, this.scheduling, this.runsSince);
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
      lease: this.claim.lease,
      endedAt: new Date(),
    });
    return outcome;
  }

  private outcome(failure: RunFailure | undefined): RunOutcome & { readonly reason: string } {
    const message = [
      failure?.message ?? 'The command ended with exit code 0.',
      ...this.howItStopped(failure),
      ...(this.retries.isExhausted
        ? ['It is not tried again: its history is as long as Temporal allows.']
        : []),
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
      lease: this.claim.lease,
      startedAt: status === 'RUNNING' ? this.timeLimit.startedAt : undefined,
    });
  }
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
