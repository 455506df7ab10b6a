/** When the cluster had given which capacity to whom, and heard of lost nodes, out of the histories of its workflow. */
import type { LeaseTime, NodeLoss } from './evidence.ts';
import { json, timeOf } from './raw-history.ts';
import type { HistoryEvent } from './raw-history.ts';

/**
 * What counts is the order in which the workflow has seen things: a signal that came while it was deciding stands in its
 * history behind the decision, with an earlier time.
 * @param histories of all executions, the first one first
 */
export function readCluster(histories: readonly (readonly HistoryEvent[])[]): ClusterFacts {
  const book = new Book();
  for (const events of histories) {
    book.beginExecution();
    for (const event of events) book.read(event);
  }
  return book;
}

type HeardLoss = Omit<NodeLoss, 'at'>;

export interface ClusterFacts {
  readonly leases: readonly LeaseTime[];
  readonly losses: readonly HeardLoss[];
}

type OpenLease = { -readonly [Key in keyof LeaseTime]: LeaseTime[Key] };

class Book implements ClusterFacts {
  readonly leases: OpenLease[] = [];
  readonly losses: HeardLoss[] = [];
  /** Over all executions. */
  private eventsRead = 0;
  private activities = new Map<string, { readonly type: string; readonly granted: readonly OpenLease[] }>();
  /** Runs that the last sweep found ended. */
  private suspects: readonly string[] = [];

  /** Event ids begin again, and the ledger does not carry its suspicions over. */
  beginExecution(): void {
    this.activities = new Map();
    this.suspects = [];
  }

  read(event: HistoryEvent): void {
    this.eventsRead += 1;
    const {
      activityTaskScheduledEventAttributes: scheduled,
      activityTaskCompletedEventAttributes: completed,
      workflowExecutionSignaledEventAttributes: signaled,
    } = event;
    if (scheduled) {
      const type = scheduled.activityType?.name ?? '';
      const grants = type === 'notify-runs' ? grantsIn(json(scheduled.input?.payloads)) : [];
      const granted = grants.flatMap((grant) => this.grant(grant, event));
      this.activities.set(String(event.eventId), { type, granted });
    } else if (completed) {
      this.answer(String(completed.scheduledEventId), json(completed.result?.payloads), event);
    } else if (signaled?.signalName === 'release-capacity') {
      const { run, resumption } = json(signaled.input?.payloads) as { run: string; resumption: number };
      this.end((lease) => lease.run === run && lease.resumption === resumption, event);
    } else if (signaled?.signalName === 'node-report') {
      const { type, node } = json(signaled.input?.payloads) as { type: string; node: string };
      if (type === 'lost') this.losses.push({ node, heardAt: timeOf(event), heardEvent: this.eventsRead });
    }
  }

  /** A run that asks again is told again what it holds. */
  private grant(grant: Grant, event: HistoryEvent): OpenLease[] {
    const isKnown = this.leases.some(
      ({ run, resumption, fence, endedEvent }) =>
        run === grant.run &&
        resumption === grant.resumption &&
        fence === grant.fence &&
        endedEvent === undefined,
    );
    if (isKnown) return [];
    const lease = { ...grant, grantedAt: timeOf(event), grantedEvent: this.eventsRead };
    this.leases.push(lease);
    return [lease];
  }

  private answer(scheduledId: string, result: unknown, event: HistoryEvent): void {
    const activity = this.activities.get(scheduledId);
    const runs = new Set(Array.isArray(result) ? (result as string[]) : []);
    // Who got a lease and was gone already; who is found ended twice.
    if (activity?.type === 'notify-runs') {
      this.end((lease) => activity.granted.includes(lease) && runs.has(lease.run), event);
    } else if (activity?.type === 'find-ended-runs') {
      this.end(({ run }) => runs.has(run) && this.suspects.includes(run), event);
      this.suspects = [...runs];
    }
  }

  private end(isMeant: (lease: OpenLease) => boolean, event: HistoryEvent): void {
    for (const lease of this.leases) {
      if (lease.endedEvent !== undefined || !isMeant(lease)) continue;
      lease.endedAt = timeOf(event);
      lease.endedEvent = this.eventsRead;
    }
  }
}

type Grant = Pick<LeaseTime, 'run' | 'resumption' | 'fence' | 'ranks'>;

interface Notice {
  readonly type: string;
  readonly grant?: {
    readonly lease: Pick<LeaseTime, 'fence' | 'ranks'> & {
      readonly request: { readonly run: string; readonly resumption: number };
    };
  };
}

function grantsIn(input: unknown): Grant[] {
  const { notices } = input as { readonly notices: readonly Notice[] };
  return notices.flatMap(({ type, grant }) => {
    if (type !== 'granted' || grant === undefined) return [];
    const { request, fence, ranks } = grant.lease;
    return [{ run: request.run, resumption: request.resumption, fence, ranks }];
  });
}
