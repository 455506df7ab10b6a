import { describe, expect, it } from 'vitest';
import { check } from '../../faults/check.ts';
import { INVARIANTS } from '../../faults/findings.ts';
import type { ContainerLife, Evidence, RankLog } from '../../faults/evidence.ts';
import { aCut, aDay, aFault, aLoss, COUNTS_TO_FIVE, ENDLESS, heldFor, RUN } from './evidence.ts';
import { messages, objections } from './objections.ts';

const REFUSED = { at: 100, type: 'refused' } as const;

type Day = ReturnType<typeof aDay>;

/** A day with one run that has one more container than it should. */
function withContainer(day: Day, change: Partial<ContainerLife>): Evidence {
  const [first] = day.containers;
  return {
    ...day,
    containers: [...day.containers, { ...(first as ContainerLife), id: 'another', ...change }],
  };
}
function withLog(day: Day, change: (text: string) => string): Evidence {
  return { ...day, logs: day.logs.map((log) => ({ ...log, text: change(log.text) })) };
}
const line = (number: number): string => `${RUN} 0.0 ${number}\n`;

describe('good evidence', () => {
  it.each<[string, Evidence]>([
    ['a run that completes', aDay()],
    [
      'a run that fails as it should',
      aDay({ program: { ...COUNTS_TO_FIVE, end: { type: 'exit', code: 3 } } }),
    ],
    ['a gang', aDay({ resumptions: [['n0', 'n1']] })],
    ['binary lines', aDay({ program: { ...COUNTS_TO_FIVE, binary: true } })],
    [
      'a run that is stopped',
      aDay({
        program: ENDLESS,
        order: { stops: { [RUN]: 400 } },
        end: { status: 'STOPPED', reason: 'StoppedByUser' },
      }),
    ],
    [
      'a run at its time limit',
      aDay({
        program: ENDLESS,
        order: { hasTimeLimit: true },
        end: { status: 'STOPPED', reason: 'MaxDuration' },
      }),
    ],
    [
      'a run that is retried until it works',
      aDay({
        program: { ...COUNTS_TO_FIVE, end: { type: 'fails-before', resumption: 2, code: 3 } },
        order: { maxRetries: 2 },
        resumptions: [['n0'], ['n1'], ['n0']],
      }),
    ],
    [
      'a run that moves because its node was cut off for long',
      aDay({ resumptions: [['n0'], ['n1']], faults: [aCut()], ...aLoss() }),
    ],
    ['an agent that is killed', aDay({ faults: [aFault('kill-agent')] })],
    [
      'a run whose acceptance was lost on the way',
      { ...aDay(), orders: [{ ...aDay().orders[0]!, accepted: [], unanswered: 1 }] },
    ],
    [
      'lines that Docker lost itself when its daemon was killed',
      {
        ...withLog(aDay({ faults: [aFault('kill-dockerd')] }), (text) => text.replace(line(3), '')),
        containers: aDay().containers.map((life) => ({ ...life, seen: life.seen.replace(line(3), '') })),
      },
    ],
    [
      'a --follow of a run that moved, and whose first node sent the rest of its log late or never',
      {
        ...aDay({ resumptions: [['n0'], ['n1']], faults: [aCut()], ...aLoss() }),
        follows: [
          {
            run: RUN,
            text: `${line(1)}${line(2)}${[1, 2, 3, 4, 5].map((n) => `${RUN} 1.0 ${n}\n`).join('')}${line(3)}`,
            exitCode: 0,
            errors: '',
          },
        ],
      },
    ],
    [
      'a --follow of a run that was stopped while its node was cut off, whose log came later',
      {
        ...aDay({
          program: ENDLESS,
          order: { stops: { [RUN]: 400 } },
          end: { status: 'STOPPED', reason: 'StoppedByUser' },
          faults: [aFault('cut-node-long', { wellAt: 40_000 })],
          silences: [{ node: 'n0', from: 500, to: 40_000 }],
        }),
        follows: [{ run: RUN, text: line(1) + line(2), exitCode: 0, errors: '' }],
      },
    ],
    [
      'a log that says that Docker has lost lines',
      withLog(aDay({ faults: [aFault('fill-disk')] }), (text) => `${text}[mcli] Lines are missing here.\n`),
    ],
    [
      'a last line that was cut off by SIGKILL',
      {
        ...withLog(
          aDay({
            program: ENDLESS,
            order: { stops: { [RUN]: 400 } },
            end: { status: 'STOPPED', reason: 'StoppedByUser' },
          }),
          (text) => `${text}${RUN} 0.0`,
        ),
      },
    ],
  ])('is accepted: %s', (_, evidence) => {
    expect(messages(evidence)).toBe('');
  });

  it('is looked at for every invariant', () => {
    const day = aDay({
      resumptions: [['n0'], ['n1']],
      faults: [aFault('kill-container', { container: 'container-0-0' })],
    });
    const killed = {
      ...day,
      containers: day.containers.map((life) => ({ ...life, exitCode: life.resumption === 0 ? 137 : 0 })),
    };
    const follows = [{ run: RUN, text: day.logs.map(({ text }) => text).join(''), exitCode: 0, errors: '' }];
    const [{ run, resumption, rank, text }] = day.logs as [RankLog];
    const reads = [{ run, resumption, rank, text, exitCode: 0, errors: '' }];
    const { violations, looks } = check({ ...killed, follows, reads, probes: ['a'] });
    expect(violations).toEqual([]);
    expect(Object.keys(looks).toSorted()).toEqual(Object.keys(INVARIANTS).toSorted());
  });
});

describe('the checker objects', () => {
  it('to an accepted run that is nowhere', () => {
    const day = { ...aDay(), executions: [], containers: [], leases: [], logs: [] };
    expect(objections(day)).toEqual(['accepted-exists']);
  });

  it('to a run that was never accepted, and is nowhere', () => {
    const [order] = aDay().orders;
    const nowhere = { executions: [], containers: [], leases: [], logs: [] };
    expect(objections({ ...aDay(), ...nowhere, orders: [{ ...order!, accepted: [] }] })).toEqual([
      'accepted-exists',
    ]);
  });

  it('to one submission that has become two runs, unless an answer was lost', () => {
    const day = aDay();
    const [order] = day.orders;
    const other = JSON.parse(JSON.stringify(day).replaceAll(RUN, 'a-000002')) as Evidence;
    const later = {
      leases: other.leases.map((lease) => ({ ...lease, fence: 9, ...heldFor(2_100, 2_900) })),
      containers: other.containers.map((life) => ({
        ...life,
        id: 'b',
        fence: 9,
        startedAt: 2_300,
        aliveUntil: 2_700,
      })),
    };
    const both = {
      ...day,
      executions: [...day.executions, ...other.executions],
      leases: [...day.leases, ...later.leases],
      containers: [...day.containers, ...later.containers],
      logs: [...day.logs, ...other.logs],
    };
    expect(objections(both)).toEqual(['accepted-exists']);
    expect(objections({ ...both, orders: [{ ...order!, unanswered: 1 }] })).toEqual([]);
    const refused = [...both.executions.slice(0, 1), { ...both.executions[1]!, steps: [], closed: REFUSED }];
    expect(objections({ ...day, executions: refused })).toEqual([]);
  });

  it('to a run that nobody submitted', () => {
    expect(objections({ ...aDay(), orders: [] })).toEqual(['accepted-exists']);
  });

  it('to a run that was carried out twice', () => {
    const day = aDay();
    const twice = day.executions.map((execution) => ({ ...execution, executionId: 'execution-2' }));
    expect(objections({ ...day, executions: [...day.executions, ...twice] })).toEqual(['accepted-exists']);
  });

  it('to a run without an end', () => {
    const day = aDay();
    const [{ run, executionId, startedAt, steps }] = day.executions;
    const open = { run, executionId, startedAt, steps: steps.slice(0, -1) };
    expect(objections({ ...day, executions: [open] })).toEqual(['ends-once']);
  });

  it('to a run with two ends', () => {
    const day = aDay();
    const executions = day.executions.map((execution) => ({
      ...execution,
      steps: [
        ...execution.steps,
        { at: 950, status: 'FAILED', reason: 'NodeLost', resumption: 0, message: '' },
      ],
    }));
    expect(objections({ ...day, executions })).toEqual(['ends-once']);
  });

  it.each([
    [
      { status: 'RUNNING', resumption: 0 },
      'TERMINATING of resumption 0 was followed by RUNNING of resumption 0',
    ],
    [
      { status: 'TERMINATING', resumption: 0 },
      'TERMINATING of resumption 0 was followed by TERMINATING of resumption 0',
    ],
    [
      { status: 'QUEUED', resumption: -1 },
      'TERMINATING of resumption 0 was followed by QUEUED of resumption -1',
    ],
  ])('to a status that goes back: %o', (step, message) => {
    const day = aDay();
    const executions = day.executions.map((execution) => ({
      ...execution,
      steps: execution.steps.toSpliced(4, 0, { at: 750, reason: '', message: '', ...step }),
    }));
    const evidence = { ...day, executions };
    expect(objections(evidence)).toEqual(['in-order']);
    expect(messages(evidence)).toContain(message);
  });

  it('to an accepted run that was refused afterwards', () => {
    const day = aDay();
    const executions = day.executions.map((execution) => ({
      ...execution,
      closed: { at: 900, type: 'refused' as const },
    }));
    expect(objections({ ...day, executions })).toEqual(['ends-once']);
  });

  it.each<[string, Evidence]>([
    ['failed for good by a fault', aDay({ end: { status: 'FAILED', reason: 'NodeLost' } })],
    [
      'completed, and should have failed',
      aDay({
        program: { ...COUNTS_TO_FIVE, end: { type: 'exit', code: 3 } },
        end: { status: 'COMPLETED', reason: '' },
      }),
    ],
    [
      'failed with another exit code',
      aDay({
        program: { ...COUNTS_TO_FIVE, end: { type: 'exit', code: 3 } },
        end: { status: 'FAILED', reason: 'NonZeroExit', exitCode: 137 },
      }),
    ],
    [
      'ended although nobody stopped it',
      aDay({ program: ENDLESS, end: { status: 'COMPLETED', reason: '' } }),
    ],
    [
      'stopped although nobody stopped it',
      aDay({ program: ENDLESS, end: { status: 'STOPPED', reason: 'StoppedByUser' } }),
    ],
    [
      'completed when it was stopped',
      aDay({ program: ENDLESS, order: { stops: { [RUN]: 400 } }, end: { status: 'COMPLETED', reason: '' } }),
    ],
    [
      'was not retried as often as ordered',
      aDay({ program: { ...COUNTS_TO_FIVE, end: { type: 'exit', code: 3 } }, order: { maxRetries: 1 } }),
    ],
  ])('to a wrong status: the run %s', (_, evidence) => {
    expect(objections(evidence)).toEqual(['right-status']);
  });

  it('to a result that contradicts the last status', () => {
    const day = aDay();
    const executions = day.executions.map((execution) => ({
      ...execution,
      closed: { at: 1_000, type: 'ended' as const, status: 'FAILED', exitCode: 1 },
    }));
    expect(objections({ ...day, executions })).toEqual(['right-status']);
    const shown = day.executions.map((execution) => ({
      ...execution,
      steps: execution.steps.map((step) =>
        step.status === 'COMPLETED' ? { ...step, status: 'FAILED' } : step,
      ),
    }));
    expect(objections({ ...day, executions: shown })).toEqual(['right-status']);
  });

  it('to a run that was terminated', () => {
    const day = aDay();
    const executions = day.executions.map((execution) => ({
      ...execution,
      closed: { at: 900, type: 'terminated' as const },
    }));
    expect(objections({ ...day, executions })).toEqual(['right-status']);
  });

  it('to two live containers of one rank, on two nodes', () => {
    const day = aDay({ resumptions: [['n0'], ['n1']], faults: [aCut()], ...aLoss() });
    const containers = day.containers.map((life) =>
      life.node === 'n0' ? { ...life, aliveUntil: 1_500 } : life,
    );
    const evidence = { ...day, containers };
    expect(objections(evidence)).toContain('one-container');
    expect(messages(evidence)).toContain('of a-000001 on n0 for 0.2 s');
  });

  it('to a rank that was started twice, one after the other', () => {
    expect(objections(withContainer(aDay(), { startedAt: 710, aliveUntil: 800 }))).toEqual(['started-once']);
  });

  it('to a GPU that is leased twice', () => {
    const day = aDay();
    const other = { ...day.leases[0]!, run: 'b-000002', fence: 7, ...heldFor(800, 1_200) };
    expect(objections({ ...day, leases: [...day.leases, other] })).toEqual(['leased-once']);
  });

  it('to a GPU that was leased again before the cluster had it back, whatever the times are', () => {
    const day = aDay();
    const [lease] = day.leases;
    const other = { ...lease!, run: 'b-000002', fence: 7, ...heldFor(1_000, 1_200), grantedEvent: 899 };
    expect(objections({ ...day, leases: [lease!, other] })).toEqual(['leased-once']);
    expect(objections({ ...day, leases: [lease!, { ...other, grantedEvent: 901 }] })).toEqual([]);
  });

  it('to a lease that is never given back', () => {
    const day = aDay();
    const leases = day.leases.map((lease) => {
      const { endedAt: _, endedEvent: __, ...held } = lease;
      return held;
    });
    expect(objections({ ...day, leases })).toEqual(['given-back']);
    expect(objections({ ...day, leases, executions: [] })).toContain('given-back');
  });

  it('to two leases of one resumption, on different GPUs', () => {
    const day = aDay();
    const another = { ...day.leases[0]!, fence: 7, ranks: [{ node: 'n0', gpuIds: [1] }] };
    expect(objections({ ...day, leases: [...day.leases, another] })).toEqual(['gang-whole']);
  });

  it.each([
    ['a rank', [{ node: 'n0', gpuIds: [0, 1] }]],
    [
      'a GPU',
      [
        { node: 'n0', gpuIds: [0] },
        { node: 'n1', gpuIds: [] },
      ],
    ],
  ])('to a gang whose lease lacks %s', (_, ranks) => {
    const day = aDay({ resumptions: [['n0', 'n1']] });
    const leases = day.leases.map((lease) => ({ ...lease, ranks }));
    expect(objections({ ...day, leases })).toContain('gang-whole');
  });

  it('to capacity that can not be had all at once in the end', () => {
    const day = { ...aDay({ resumptions: [['n0', 'n1']] }), probes: ['a'] };
    expect(objections(day)).toEqual([]);
    expect(objections({ ...day, probes: ['a', 'b'] })).toEqual(['all-free']);
    expect(objections({ ...day, containers: day.containers.slice(0, 1) })).toContain('all-free');
    const inTurn = day.containers.map((life) =>
      life.rank === 1 ? { ...life, startedAt: 800, aliveUntil: 850 } : life,
    );
    expect(objections({ ...day, containers: inTurn })).toEqual(['all-free']);
    expect(messages({ ...day, containers: inTurn })).toBe(
      'there was no room beside all others for rank 1 of a',
    );
  });

  it('to a GPU that the node does not have', () => {
    const day = aDay();
    const leases = day.leases.map((lease) => ({ ...lease, ranks: [{ node: 'n0', gpuIds: [2] }] }));
    const containers = day.containers.map((life) => ({ ...life, gpuIds: [2] }));
    expect(objections({ ...day, leases, containers })).toEqual(['leased-once']);
  });

  it('to more CPU runs than a node has slots', () => {
    const day = aDay();
    const slot = (run: string, from: number, to: number) => ({
      ...day.leases[0]!,
      run,
      ranks: [{ node: 'n0', gpuIds: [] }],
      ...heldFor(from, to),
    });
    const leases = [slot('b-000002', 100, 500), slot('c-000003', 499, 900)];
    expect(objections({ ...day, leases: [...day.leases, ...leases] })).toContain('leased-once');
    const inTurn = [slot('b-000002', 100, 500), slot('c-000003', 500, 900)];
    expect(objections({ ...day, leases: [...day.leases, ...inTurn] })).not.toContain('leased-once');
  });

  it('to two containers on one GPU, whatever the leases say', () => {
    const day = aDay();
    const lease = { ...day.leases[0]!, run: 'b-000002', fence: 7, ...heldFor(900, 1_500) };
    const other = { run: 'b-000002', fence: 7, id: 'another', startedAt: 950, aliveUntil: 1_400 };
    const late = day.containers.map((life) => ({ ...life, aliveUntil: 1_000 }));
    const evidence = withContainer({ ...day, containers: late, leases: [...day.leases, lease] }, other);
    expect(objections(evidence)).toEqual(['gpu-held-once']);
  });

  it('to a container that has other GPUs than its lease, also when nobody else is on them', () => {
    const day = aDay();
    const containers = day.containers.map((life) => ({ ...life, gpuIds: [1] }));
    expect(objections({ ...day, containers })).toEqual(['lease-for-container']);
  });

  it('to two containers that hold one GPU by their own labels, though they were leased different ones', () => {
    const day = aDay();
    const leases = [
      ...day.leases,
      { ...day.leases[0]!, run: 'b-000002', fence: 7, ranks: [{ node: 'n0', gpuIds: [1] }] },
    ];
    const evidence = withContainer({ ...day, leases }, { run: 'b-000002', fence: 7, id: 'another' });
    expect(objections(evidence).toSorted()).toEqual(['gpu-held-once', 'lease-for-container']);
  });

  it.each<[string, Partial<ContainerLife>]>([
    ['that never had one', { fence: 9 }],
    ['on another node than its lease', { node: 'n1' }],
    ['that begins before it', { startedAt: 99 }],
    ['that outlives it', { aliveUntil: 1_050 }],
    ['of another resumption', { resumption: 1 }],
    ['of another run', { run: 'b-000002' }],
  ])('to a container without a lease: one %s', (_, change) => {
    const day = aDay();
    const containers = day.containers.map((life) => ({ ...life, ...change }));
    expect(objections({ ...day, containers })).toContain('lease-for-container');
  });

  it('to no container whose end Docker notes a little late', () => {
    const day = aDay();
    const containers = day.containers.map((life) => ({ ...life, aliveUntil: 980 }));
    expect(objections({ ...day, containers })).toEqual([]);
  });

  it.each<[string, (text: string) => string, string]>([
    [
      'lost in the middle',
      (text) => text.replace(line(3), ''),
      'line 3 (1 in all) are lost, which Docker had',
    ],
    ['lost at the end', (text) => text.replace(line(5), ''), 'lines 5 (1 in all) are lost, which Docker had'],
    ['doubled', (text) => text.replace(line(3), line(3) + line(3)), 'line 3 is doubled'],
    [
      'out of order',
      (text) => text.replace(line(2) + line(3), line(3) + line(2)),
      'line 2 comes after line 3',
    ],
    ['changed', (text) => text.replace('0.0 3\n', '0.0 3x\n'), 'a line that was never printed'],
    ['cut off', (text) => text.slice(0, -1), 'the log ends with a piece'],
    [
      'a remark without a cause',
      (text) => `${text}[mcli] Lines are missing.\n`,
      'a line that was never printed',
    ],
    ['of another rank', (text) => text.replace('0.0 3\n', '0.1 3\n'), 'a line that was never printed'],
  ])('to a line that is %s', (_, change, message) => {
    const evidence = withLog(aDay(), change);
    expect(objections(evidence)).toEqual(['lines-once']);
    expect(messages(evidence).replace('lines 3', 'line 3')).toContain(message);
  });

  it('to lines that are lost although Docker lost some itself', () => {
    const day = withLog(aDay({ faults: [aFault('kill-dockerd')] }), (text) => text.replace(line(3), ''));
    expect(objections(day)).toEqual(['lines-once']);
  });

  it('to what is left of a line that was torn, unless Docker has it so', () => {
    const torn = line(3).slice(0, -2).concat('?\n');
    const day = withLog(aDay({ faults: [aFault('fill-disk')] }), (text) => text.replace(line(3), torn));
    expect(objections(day)).toEqual(['lines-once']);
    const containers = day.containers.map((life) => ({ ...life, seen: life.seen.replace(line(3), torn) }));
    expect(objections({ ...day, containers })).toEqual([]);
  });

  it('to lines that nobody saw, of a program that came to its end', () => {
    const day = withLog(aDay(), (text) => text.replace(line(5), ''));
    const containers = day.containers.map((life) => ({ ...life, seen: '' }));
    expect(objections({ ...day, containers })).toEqual(['lines-once']);
  });

  it('to a log that is missing altogether', () => {
    expect(objections({ ...aDay(), logs: [] })).toEqual(['lines-once']);
  });

  it.each<[string, (text: string) => string]>([
    ['misses a line', (text) => text.replace(line(3), '')],
    ['doubles a line', (text) => text.replace(line(3), line(3) + line(3))],
    ['stops too early', (text) => text.replace(line(5), '')],
    ['goes on too long', (text) => text + line(6)],
    ['has lines in another order', (text) => text.replace(line(2) + line(3), line(3) + line(2))],
    ['prints something else', (text) => `${text}Connection lost.\n`],
  ])('to a --follow that %s', (_, change) => {
    const day = aDay();
    const text = change(day.logs.map((log) => log.text).join(''));
    expect(objections({ ...day, follows: [{ run: RUN, text, exitCode: 0, errors: '' }] })).toEqual([
      'follow-whole',
    ]);
  });
});
