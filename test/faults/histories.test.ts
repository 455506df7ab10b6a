import { readFileSync } from 'node:fs';
import path from 'node:path';
import { historyFromJSON } from '@temporalio/common/lib/proto-utils.js';
import { describe, expect, it } from 'vitest';
import { readCluster } from '../../faults/cluster-book.ts';
import { lifeOf, withDecisions } from '../../faults/histories.ts';
import { milliseconds } from '../../faults/raw-history.ts';
import type { HistoryEvent } from '../../faults/raw-history.ts';
import { clusterEvents, granted, notified, released, swept } from './events.ts';

/** As the server gave it. */
function recorded(file: string): readonly HistoryEvent[] {
  const text = readFileSync(path.resolve(import.meta.dirname, '..', file), 'utf8');
  return historyFromJSON(JSON.parse(text)).events ?? [];
}

const leasesOf = (histories: readonly (readonly HistoryEvent[])[]) => readCluster(histories).leases;

describe('leases, out of the history of a cluster', () => {
  it('are granted and given back as they were', () => {
    const leases = leasesOf([recorded('histories/cluster-grants-preempts.json')]);
    const rows = leases.map(({ run, resumption, ranks, grantedEvent, endedEvent }) => {
      const where = ranks.map(({ node, gpuIds }) => `${node}[${gpuIds.join('')}]`).join(' ');
      return `${run} ${resumption} ${where} ${grantedEvent}-${endedEvent}`;
    });
    expect(rows).toEqual([
      'hello-world-2alftv 0 node-0[] 26-33',
      'gang-u3xref 0 node-0[0123] node-1[0123] 43-50',
      'noimg-k2x2hn 0 node-0[] 60-67',
      'again-t19ngb 0 node-0[0] 77-84',
      'again-t19ngb 1 node-0[0] 94-101',
      'hold-gx9yba 0 node-0[0123] 111-157',
      'hold-nodipr 0 node-1[0123] 124-190',
      'urgent-vrexzf 0 node-0[0123] 163-177',
      'hold-gx9yba 1 node-0[0123] 183-196',
      'hold-ezmb8i 0 node-0[0123] 206-236',
      'hold-ezmb8i 1 node-1[0123] 246-276',
    ]);
  });

  it('are granted when the server has it, and not when a workflow with an old clock says so', () => {
    const leases = leasesOf([recorded('faults/recorded/cluster-with-late-signals.json')]);
    const lease = leases.find(({ run }) => run === 'f501-34-0at56m');
    expect(new Date(lease?.grantedAt ?? 0).toISOString()).toBe('2026-11-30T14:04:09.049Z');
  });

  it('follow one another as the cluster saw it: what came while it decided, came afterwards', () => {
    const [lease] = leasesOf([clusterEvents([granted('a-000001', 1), 500], [released('a-000001'), 400])]);
    expect(lease).toMatchObject({ grantedAt: 500, grantedEvent: 1, endedAt: 400, endedEvent: 2 });
  });

  it('go on over executions of the cluster, whose events are counted on', () => {
    const [lease] = leasesOf([
      clusterEvents([granted('a-000001', 1), 500]),
      clusterEvents([swept([]), 600], [released('a-000001'), 700]),
    ]);
    expect(lease).toMatchObject({ grantedEvent: 1, endedEvent: 4 });
  });

  it('are one when a run is told again what it holds, and two when it was given back in between', () => {
    const again = [granted('a-000001', 1), 500] as const;
    expect(leasesOf([clusterEvents(again, again)])).toHaveLength(1);
    expect(leasesOf([clusterEvents(again, [released('a-000001'), 600], again)])).toHaveLength(2);
    expect(leasesOf([clusterEvents(again, [granted('b-000002', 1), 600])])).toHaveLength(2);
    expect(leasesOf([clusterEvents(again, [granted('a-000001', 2), 600])])).toHaveLength(2);
    expect(leasesOf([clusterEvents(again, [granted('a-000001', 1, 1), 600])])).toHaveLength(2);
  });

  it('end when they found nobody, and when their run is found ended twice', () => {
    const gone = leasesOf([clusterEvents([granted('a-000001', 1), 500], [notified(['a-000001']), 600])]);
    expect(gone[0]?.endedAt).toBe(600);
    const sweep = [swept(['a-000001']), 700] as const;
    const once = leasesOf([clusterEvents([granted('a-000001', 1), 500], sweep)]);
    expect(once[0]?.endedAt).toBeUndefined();
    const twice = leasesOf([clusterEvents([granted('a-000001', 1), 500], sweep, sweep)]);
    expect(twice[0]?.endedAt).toBe(700);
    const anew = leasesOf([clusterEvents([granted('a-000001', 1), 500], sweep), clusterEvents(sweep)]);
    expect(anew[0]?.endedAt).toBeUndefined();
  });

  it('go on when a revocation finds nobody', () => {
    const leases = leasesOf([
      clusterEvents(
        [granted('a-000001', 1), 500],
        [notified([]), 600],
        [granted('b-000002', 2), 700],
        [notified(['a-000001']), 800],
      ),
    ]);
    expect(leases.map(({ endedAt }) => endedAt)).toEqual([undefined, undefined]);
  });
});

describe('losses of nodes', () => {
  it('are those that the cluster has heard of', () => {
    const { losses } = readCluster([recorded('histories/cluster-grants-preempts.json')]);
    expect(losses).toMatchObject([{ node: 'node-0', heardEvent: 224 }]);
    expect(new Date(losses[0]?.heardAt ?? 0).toISOString()).toContain('19:43:06.208');
  });

  it('were decided on before that, by the workflow of the node', () => {
    const events = recorded('histories/node-lost-and-back-with-lease.json');
    const [first = 0, second = 0] = events
      .filter(({ activityTaskScheduledEventAttributes: scheduled }) =>
        Buffer.from(scheduled?.input?.payloads?.[0]?.data ?? '').includes('"lost"'),
      )
      .map(({ eventTime }) => milliseconds(eventTime));
    const heard = (node: string, heardAt: number) => ({ node, heardAt, heardEvent: 1 });
    const losses = [heard('node-x', first + 5), heard('node-x', second + 20_000)];
    expect(withDecisions(losses, events).map(({ at }) => at)).toEqual([first, second]);
    const unknown = [heard('node-x', first - 1), heard('node-9', second)];
    expect(withDecisions(unknown, events).map(({ at }) => at)).toEqual([-Infinity, -Infinity]);
  });
});

describe('the life of a run, out of its history', () => {
  it.each([
    ['run-completed', 'PENDING QUEUED STARTING RUNNING TERMINATING COMPLETED', { status: 'COMPLETED' }],
    ['run-failed-pull', 'PENDING QUEUED STARTING TERMINATING FAILED', { status: 'FAILED' }],
  ])('has its statuses and its end: %s', (file, statuses, closed) => {
    const life = lifeOf(recorded(`histories/${file}.json`));
    expect(life.steps.map(({ status }) => status).join(' ')).toBe(statuses);
    expect(life.closed).toMatchObject({ type: 'ended', ...closed });
    expect(life.startedAt).toBeGreaterThan(0);
  });

  it('has all its resumptions, with reasons', () => {
    const { steps } = lifeOf(recorded('histories/run-preempted-and-resumed.json'));
    const again = steps.find(({ resumption }) => resumption === 1);
    expect(again).toMatchObject({ status: 'QUEUED', reason: 'Preempted' });
    expect(again?.message).toContain('Gave way to');
  });

  it('is open without an end', () => {
    const { closed } = lifeOf(recorded('histories/run-completed.json').slice(0, -1));
    expect(closed).toBeUndefined();
  });
});
