/**
 * Which rank failed first, read from the history of its run. Its log does not always know: the container may have failed
 * before the command, or be gone.
 */
import type { Client } from '@temporalio/client';
import { decodeFromPayloadsAtIndex } from '@temporalio/common/lib/internal-non-workflow/index.js';
import type { temporal } from '@temporalio/proto';
import type { ContainerExit, NodeActivities, RankAssignment } from '../activities/contract.ts';
import { exitFailure, failureClass, isFailureType, rootCause } from '../core/failures.ts';
import type { RunFailure } from '../core/failures.ts';
import { leaseRevokedSignal } from '../workflows/messages.ts';
import type { Revocation } from '../workflows/messages.ts';
import type { LifecycleStep } from './run-history.ts';

export type HistoryEvent = temporal.api.history.v1.IHistoryEvent;
type Payloads = readonly temporal.api.common.v1.IPayload[] | null | undefined;

export interface RankFailure extends RunFailure {
  readonly resumption: number;
  readonly rank: number;
  readonly node: string;
}

interface Resumption {
  readonly resumption: number;
  readonly lifecycle: readonly LifecycleStep[];
}

const ON_RANKS: ReadonlySet<string> = new Set<keyof NodeActivities>([
  'pull-image',
  'integrations',
  'execute',
]);

/** Of all resumptions. */
export class RankFailures {
  private readonly client: Client;
  /** By the events that scheduled their activities. */
  private readonly ranks = new Map<string, RankAssignment>();
  private readonly failures: RankFailure[] = [];

  constructor(client: Client) {
    this.client = client;
  }

  /** Undefined where no rank has failed by itself. */
  first({ resumption, lifecycle }: Resumption): RankFailure | undefined {
    const reason = reasonOf({ resumption, lifecycle });
    const ofResumption = this.failures.filter((failure) => failure.resumption === resumption);
    // Ranks fail that have lost their peer or were told to stop: the reason of the run says what began it.
    return rootCause(
      ofResumption.filter(({ type }) => reason === undefined || failureClass(type).reason === reason),
    );
  }

  async add(event: HistoryEvent): Promise<void> {
    const scheduled = event.activityTaskScheduledEventAttributes;
    const ended =
      event.activityTaskCompletedEventAttributes ??
      event.activityTaskFailedEventAttributes ??
      event.activityTaskTimedOutEventAttributes;
    const signal = event.workflowExecutionSignaledEventAttributes;
    if (ON_RANKS.has(scheduled?.activityType?.name ?? '')) {
      this.ranks.set(String(event.eventId), await this.decode(scheduled?.input?.payloads));
    } else if (ended) {
      const rank = this.ranks.get(String(ended.scheduledEventId));
      const failure = rank && (await this.failureOf(event));
      if (failure) this.note(rank, { failedAt: timeOf(event), ...failure });
    } else if (signal?.signalName === leaseRevokedSignal.name) {
      const { type, message, resumption, node } = await this.decode<Revocation>(signal.input?.payloads);
      const onNode = [...this.ranks.values()].find(
        (rank) => rank.resumption === resumption && rank.node === node,
      );
      if (onNode && type === 'NodeLost') this.note(onNode, { type, message, failedAt: timeOf(event) });
    }
  }

  private note({ resumption, rank, node }: RankAssignment, failure: RunFailure): void {
    this.failures.push({ ...failure, resumption, rank, node });
  }

  private async failureOf(event: HistoryEvent): Promise<RunFailure | undefined> {
    const { activityTaskCompletedEventAttributes: completed, activityTaskFailedEventAttributes: failed } =
      event;
    if (completed) return exitFailureOf(await this.decode(completed.result?.payloads));
    if (!failed) return { type: 'NodeLost', message: 'The node agent no longer answers.' };
    const { message, applicationFailureInfo: info } = failed.failure ?? {};
    const details = await this.decode<Partial<RunFailure> | undefined>(info?.details?.payloads);
    return { ...details, type: isFailureType(info?.type) ? info.type : 'AgentError', message: message ?? '' };
  }

  private decode<T>(payloads: Payloads): Promise<T> {
    return decodeFromPayloadsAtIndex<T>(this.client.options.loadedDataConverter, 0, [...(payloads ?? [])]);
  }
}

/** Only `execute` answers with an exit. */
function exitFailureOf(exit: Partial<ContainerExit> | undefined): RunFailure | undefined {
  const { exitCode, oomKilled = false, finishedAt } = exit ?? {};
  if (exitCode === undefined) return undefined;
  const failure = exitFailure({ ...exit, exitCode, oomKilled });
  return failure && { ...failure, ...(finishedAt !== undefined && { failedAt: finishedAt }) };
}

/** Why a resumption has ended; undefined while it goes on. A run that is queued again shows it with the next one. */
function reasonOf({ resumption, lifecycle }: Resumption): string | undefined {
  return lifecycle
    .filter((step) => step.resumption === (step.status === 'QUEUED' ? resumption + 1 : resumption))
    .map(({ reason }) => reason)
    .find((reason) => reason !== '');
}

function timeOf({ eventTime }: HistoryEvent): string {
  return new Date(Number(eventTime?.seconds ?? 0) * 1_000 + (eventTime?.nanos ?? 0) / 1e6).toISOString();
}
