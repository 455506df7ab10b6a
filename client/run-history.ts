/**
 * A run read from its workflow history, event by event: needs no worker, and works as long as the history is kept.
 */
import type { Client } from '@temporalio/client';
import { decodeFromPayloadsAtIndex } from '@temporalio/common/lib/internal-non-workflow/index.js';
import type { temporal } from '@temporalio/proto';
import type { RankAssignment } from '../activities/contract.ts';
import { WORKFLOW_TYPES } from '../core/naming.ts';
import type { FailureType } from '../core/failures.ts';
import type { RankReport } from '../core/rank-report.ts';
import type { RunInput, RunOutcome } from '../core/run.ts';
import type { Construction, ResourceRequest, SchedulingRequest } from '../core/run-spec.ts';
import { isTerminal } from '../core/run-status.ts';
import type { RunStatus } from '../core/run-status.ts';
import type { OpenedTrackers, TrackerEntry } from '../core/tracking.ts';
import { schedulingUpdate } from '../workflows/messages.ts';
import type { SchedulingChange } from '../workflows/messages.ts';

type HistoryEvent = temporal.api.history.v1.IHistoryEvent;
type Payload = temporal.api.common.v1.IPayload;

/** One row of the run's lifecycle. */
export interface LifecycleStep {
  readonly resumption: number;
  readonly status: RunStatus;
  readonly startedAt: Date;
  /** Absent while it lasts, and always on the last, terminal row. */
  readonly endedAt?: Date;
  /** One word; empty when there is nothing to explain. */
  readonly reason: string;
}

export interface RunDetails {
  readonly name: string;
  readonly input: RunInput;
  /** Absent until construction has answered. */
  readonly resources?: ResourceRequest;
  /** What is in force: as submitted, with the changes since. */
  readonly scheduling: SchedulingRequest;
  readonly createdAt: Date;
  readonly startedAt?: Date;
  readonly endedAt?: Date;
  readonly status: RunStatus;
  readonly reason: string;
  /** One sentence on the last thing that went wrong, or on how the run ended; empty while all is well. */
  readonly message: string;
  readonly exitCode?: number;
  /** How the run ended, in the closed table of `core/failures.ts`; absent when it completed or still lives. */
  readonly failure?: FailureType;
  readonly resumption: number;
  readonly nodes: readonly string[];
  readonly lifecycle: readonly LifecycleStep[];
  /** Of the ranks of the last resumption that ran whose command has ended, by rank. */
  readonly reports: readonly RankReport[];
  /** What its trackers answered when the last resumption that got capacity began; absent without trackers. */
  readonly trackers?: OpenedTrackers;
  /** What the libraries in its container answered when they told their trackers of the end. */
  readonly trackerReports: readonly TrackerEntry[];
  /** True when the workflow has ended. */
  readonly closed: boolean;
  /** True when construction refused the run: it never took a place among the runs. */
  readonly rejected: boolean;
}

export class RunHistory {
  private readonly name: string;
  private readonly client: Client;
  private readonly constructIds = new Set<string>();
  private readonly openIds = new Set<string>();
  private readonly tellIds = new Set<string>();
  private readonly steps: LifecycleStep[] = [];
  /** Of the last resumption that ran, by the event that scheduled its commands. */
  private readonly commands = new Map<string, RankAssignment>();
  private reports: readonly RankReport[] = [];
  private details: { -readonly [K in keyof RunDetails]?: RunDetails[K] } = {};

  constructor(client: Client, name: string) {
    this.client = client;
    this.name = name;
  }

  /** `undefined` before the first event, and for a workflow that is no run. */
  current(): RunDetails | undefined {
    const { input, createdAt } = this.details;
    if (!input?.spec || !createdAt) return undefined;
    return {
      status: 'PENDING',
      reason: '',
      message: '',
      resumption: 0,
      nodes: [],
      closed: false,
      rejected: false,
      trackerReports: [],
      scheduling: input.spec.scheduling,
      ...this.details,
      name: this.name,
      input,
      createdAt,
      lifecycle: this.steps,
      reports: this.reports,
    };
  }

  async add(event: HistoryEvent): Promise<void> {
    const at = timeOf(event);
    const {
      workflowExecutionStartedEventAttributes: started,
      activityTaskScheduledEventAttributes: scheduled,
    } = event;
    if (started) {
      // Other workflows of the namespace are no runs.
      if (started.workflowType?.name !== WORKFLOW_TYPES.run) return;
      this.details.input = await this.decode<RunInput>(started.input?.payloads);
      this.details.createdAt = at;
    } else if (scheduled?.activityType?.name === 'construct') {
      this.constructIds.add(String(event.eventId));
    } else if (scheduled?.activityType?.name === 'open-trackers') {
      this.openIds.add(String(event.eventId));
    } else if (scheduled?.activityType?.name === 'report-in-container') {
      this.tellIds.add(String(event.eventId));
    } else if (scheduled?.activityType?.name === 'execute') {
      const rank = await this.decode<RankAssignment>(scheduled.input?.payloads);
      const [earlier] = this.commands.values();
      if (earlier?.resumption !== rank.resumption) {
        this.commands.clear();
        this.reports = [];
      }
      this.commands.set(String(event.eventId), rank);
    } else if (event.activityTaskCompletedEventAttributes) {
      const { scheduledEventId, result } = event.activityTaskCompletedEventAttributes;
      await this.addReport(scheduledEventId, result?.payloads?.[0]);
      if (this.openIds.has(String(scheduledEventId))) {
        this.details.trackers = await this.decode<OpenedTrackers>(result?.payloads);
      }
      if (this.tellIds.has(String(scheduledEventId))) {
        this.details.trackerReports = await this.decode<readonly TrackerEntry[]>(result?.payloads);
      }
      if (!this.constructIds.has(String(scheduledEventId))) return;
      const construction = await this.decode<Construction>(result?.payloads);
      if (construction.accepted) this.details.resources = construction.resources;
    } else if (event.activityTaskCanceledEventAttributes) {
      const { scheduledEventId, details } = event.activityTaskCanceledEventAttributes;
      await this.addReport(scheduledEventId, details?.payloads?.[1]);
    } else if (event.upsertWorkflowSearchAttributesEventAttributes) {
      const fields = event.upsertWorkflowSearchAttributesEventAttributes.searchAttributes?.indexedFields;
      this.enter(at, fields ?? {});
    } else if (event.workflowPropertiesModifiedEventAttributes) {
      const { upsertedMemo } = event.workflowPropertiesModifiedEventAttributes;
      const message = upsertedMemo?.fields?.['message'];
      if (message) this.details.message = await this.decode<string>([message]);
    } else if (event.workflowExecutionUpdateAcceptedEventAttributes) {
      const { name, args } =
        event.workflowExecutionUpdateAcceptedEventAttributes.acceptedRequest?.input ?? {};
      if (name !== schedulingUpdate.name) return;
      const change = await this.decode<SchedulingChange>(args?.payloads);
      const before = this.current()?.scheduling;
      if (before) this.details.scheduling = { ...before, ...change };
    } else {
      await this.close(event, at);
    }
  }

  /** Of a command that has ended: its result, or what it said when it was stopped. */
  private async addReport(scheduledEventId: unknown, payload: Payload | undefined): Promise<void> {
    const command = this.commands.get(String(scheduledEventId));
    if (!command || !payload) return;
    const { progress, usage } = await this.decode<Partial<RankReport>>([payload]);
    const { rank, node } = command;
    const report = { rank, node, ...(progress && { progress }), ...(usage && { usage }) };
    this.reports = [...this.reports, report].sort((a, b) => a.rank - b.rank);
  }

  private enter(at: Date, fields: Readonly<Record<string, Payload>>): void {
    const status = plain(fields['RunStatus']) as RunStatus | undefined;
    if (status === undefined) return;
    const resumption = Number(plain(fields['Resumption']) ?? 0);
    const reason = (plain(fields['RunReason']) as string | undefined) ?? '';
    const nodes = plain(fields['NodeNames']);
    // PENDING began when the run was submitted, not when construction was done.
    const startedAt = this.steps.length === 0 ? (this.details.createdAt ?? at) : at;
    const last = this.steps.at(-1);
    if (last) this.steps[this.steps.length - 1] = { ...last, endedAt: at };
    this.steps.push({ resumption, status, startedAt, reason });
    Object.assign(this.details, { status, reason, resumption });
    if (Array.isArray(nodes)) this.details.nodes = nodes.map(String);
    if (status === 'RUNNING') this.details.startedAt ??= at;
    if (isTerminal(status)) this.details.endedAt = at;
  }

  private async close(event: HistoryEvent, at: Date): Promise<void> {
    const completed = event.workflowExecutionCompletedEventAttributes;
    const failed = event.workflowExecutionFailedEventAttributes;
    const gone =
      event.workflowExecutionTerminatedEventAttributes ??
      event.workflowExecutionCanceledEventAttributes ??
      event.workflowExecutionTimedOutEventAttributes;
    if (!completed && !failed && !gone) return;
    this.details.closed = true;
    if (completed) {
      const outcome = await this.decode<RunOutcome | Construction>(completed.result?.payloads);
      if ('status' in outcome) this.conclude(outcome);
      else this.details.rejected = true;
    } else if (failed) {
      const payloads = failed.failure?.applicationFailureInfo?.details?.payloads;
      if (payloads?.length) this.conclude(await this.decode<RunOutcome>(payloads));
      else this.endAbruptly(at, failed.failure?.message ?? 'The workflow failed.');
    } else {
      const why = event.workflowExecutionTerminatedEventAttributes?.reason;
      this.endAbruptly(at, `The workflow was terminated in Temporal${why ? `: ${why}` : ''}.`);
    }
  }

  private conclude({ message, exitCode, failure }: RunOutcome): void {
    this.details.message = message;
    if (failure !== undefined) this.details.failure = failure;
    if (exitCode !== undefined) this.details.exitCode = exitCode;
  }

  /** The workflow had no chance to say how the run ended. */
  private endAbruptly(at: Date, message: string): void {
    const last = this.steps.at(-1);
    if (last && isTerminal(last.status)) return;
    if (last) this.steps[this.steps.length - 1] = { ...last, endedAt: at };
    const ended = { status: ABRUPT_END.status, reason: ABRUPT_END.reason };
    this.steps.push({ resumption: last?.resumption ?? 0, startedAt: at, ...ended });
    Object.assign(this.details, ended, { message, endedAt: at });
  }

  private decode<T>(payloads: readonly Payload[] | null | undefined): Promise<T> {
    return decodeFromPayloadsAtIndex<T>(this.client.options.loadedDataConverter, 0, [...(payloads ?? [])]);
  }
}

/** How a run is shown whose workflow somebody ended in Temporal itself. */
export const ABRUPT_END = { status: 'STOPPED', reason: 'Terminated' } as const;

/** Search attributes are plain JSON; no codec ever touches them. */
function plain(payload: Payload | undefined): unknown {
  if (!payload?.data?.length) return undefined;
  return JSON.parse(Buffer.from(payload.data).toString('utf8')) as unknown;
}

function timeOf({ eventTime }: HistoryEvent): Date {
  return new Date(Number(eventTime?.seconds ?? 0) * 1_000 + Math.floor((eventTime?.nanos ?? 0) / 1_000_000));
}
