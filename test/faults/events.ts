/** Histories of a cluster as the server would give them, with what the checker reads of them only. */
import type { HistoryEvent } from '../../faults/raw-history.ts';

type Happening = (eventId: number) => Omit<HistoryEvent, 'eventId' | 'eventTime'>[];

/** @param happenings with their times in epoch milliseconds, in the order in which the workflow sees them */
export function clusterEvents(
  ...happenings: readonly (readonly [what: Happening, at: number])[]
): HistoryEvent[] {
  const events: HistoryEvent[] = [];
  for (const [what, at] of happenings) {
    for (const event of what(events.length + 1)) {
      const eventId = events.length + 1;
      events.push({
        ...event,
        eventId,
        eventTime: { seconds: 0, nanos: at * 1e6 },
      } as unknown as HistoryEvent);
    }
  }
  return events;
}

const payload = (value: unknown) => ({ payloads: [{ data: Buffer.from(JSON.stringify(value)) }] });

/** GPU 0 of node n0. */
export function granted(run: string, fence: number, resumption = 0): Happening {
  const lease = { request: { run, resumption }, fence, ranks: [{ node: 'n0', gpuIds: [0] }] };
  const input = payload({ notices: [{ type: 'granted', grant: { lease } }] });
  return () => [{ activityTaskScheduledEventAttributes: { activityType: { name: 'notify-runs' }, input } }];
}

/** The answer to the notices that were given out last. */
export function notified(gone: readonly string[]): Happening {
  return (eventId) => [
    {
      activityTaskCompletedEventAttributes: {
        scheduledEventId: (eventId - 1) as unknown as Long,
        result: payload(gone),
      },
    },
  ];
}

export function released(run: string): Happening {
  const input = payload({ run, resumption: 0 });
  return () => [{ workflowExecutionSignaledEventAttributes: { signalName: 'release-capacity', input } }];
}

export function swept(ended: readonly string[]): Happening {
  return (eventId) => [
    { activityTaskScheduledEventAttributes: { activityType: { name: 'find-ended-runs' } } },
    {
      activityTaskCompletedEventAttributes: {
        scheduledEventId: eventId as unknown as Long,
        result: payload(ended),
      },
    },
  ];
}
