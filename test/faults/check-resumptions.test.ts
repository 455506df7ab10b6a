import { describe, expect, it } from 'vitest';
import type { ContainerLife, Evidence, Fault } from '../../faults/evidence.ts';
import { FAULT_KINDS } from '../../faults/fault-kinds.ts';
import type { FaultKind } from '../../faults/fault-kinds.ts';
import type { Program } from '../../faults/program.ts';
import { aCut, aDay, aFault, aLoss, COUNTS_TO_FIVE, ENDLESS, heldFor, RUN, withoutExit } from './evidence.ts';
import { messages, objections } from './objections.ts';

const longHeld = aDay({ resumptions: [['n0'], ['n1']] }).leases.map((lease) => ({
  ...lease,
  endedEvent: 5_000,
}));

type Wish = Parameters<typeof aDay>[0];
/** A run that begins again on the other node. */
const moved = (wish: Wish) => aDay({ resumptions: [['n0'], ['n1']], ...wish });
const FAILS: Program = { ...COUNTS_TO_FIVE, end: { type: 'exit', code: 3 } };

function withLife(
  evidence: Evidence,
  resumption: number,
  change: (life: ContainerLife) => Partial<ContainerLife> | undefined,
): Evidence {
  const containers = evidence.containers.flatMap((life) => {
    if (life.resumption !== resumption) return [life];
    const changed = change(life);
    return changed === undefined ? [] : [{ ...life, ...changed }];
  });
  const logs = evidence.logs.filter((log) =>
    containers.some(({ resumption: index, rank }) => index === log.resumption && rank === log.rank),
  );
  return { ...evidence, containers, logs };
}

const KILL = aFault('kill-container', { target: RUN, container: 'container-0-0' });
const killed = (evidence: Evidence) => withLife(evidence, 0, () => ({ exitCode: 137 }));
const unseen = (evidence: Evidence): Evidence => ({
  ...evidence,
  containers: evidence.containers.map((life) => (life.resumption === 0 ? withoutExit(life) : life)),
});

describe('a run begins again with a cause', () => {
  it.each<[string, Evidence]>([
    [
      'the control plane was away for so long that its node was given up before it had a container',
      withLife(
        moved({
          faults: [aFault('kill-temporal', { target: 'temporal', at: -14_000 })],
          ...aLoss({ from: -14_200 }),
        }),
        0,
        () => undefined,
      ),
    ],
    [
      'the disk of its node was full while it ran',
      withLife(
        { ...moved({ faults: [aFault('fill-disk', { mendedAt: 650 })] }), leases: heldSince(-6_000) },
        0,
        () => ({ startedAt: -5_000 }),
      ),
    ],
    ['its node was cut off and given up', moved({ faults: [aCut()], ...aLoss() })],
    ['its agent was killed, and took too long to come back', lostAfter('kill-agent')],
    ['its agent was stalled for too long', lostAfter('stall-agent')],
    [
      'an agent was killed while the server was away',
      moved({
        faults: [
          aFault('kill-temporal', { target: 'temporal', at: -7_000 }),
          aFault('kill-agent', { at: -3_000 }),
        ],
        ...aLoss(),
      }),
    ],
    [
      'the control plane was away for so long that the guard acts',
      moved({
        faults: [aFault('kill-temporal', { target: 'temporal', at: -14_000 })],
        ...aLoss({ from: -14_200 }),
      }),
    ],
    [
      'its guard ended it, and nobody gave the node up',
      moved({
        faults: [aFault('kill-everything', { target: 'everything', at: -13_000 })],
        silences: [{ node: 'n0', from: -13_100, to: 1_000 }],
      }),
    ],
    ['its container was killed', killed(moved({ faults: [KILL] }))],
    ['its container was killed, and nobody saw the exit code', unseen(moved({ faults: [KILL] }))],
    ['it failed, and may be retried', moved({ program: FAILS, order: { maxRetries: 1 } })],
    [
      'it failed while Docker was dead, and may be retried',
      unseen(
        moved({ program: FAILS, order: { maxRetries: 1 }, faults: [aFault('kill-dockerd', { at: 600 })] }),
      ),
    ],
    ['its daemon was killed while it started', moved({ faults: [aFault('kill-dockerd', { at: 200 })] })],
    [
      'its daemon was killed before it had a container',
      withLife(moved({ faults: [aFault('kill-dockerd', { at: 200 })] }), 0, () => undefined),
    ],
    ['the disk of its node was full', moved({ faults: [aFault('fill-disk', { mendedAt: 650 })] })],
    ['all was killed while it started', moved({ faults: [aFault('kill-everything', { at: 200 })] })],
  ])('%s', (_, evidence) => {
    expect(messages(evidence)).toBe('');
  });
});

/** A loss that follows from one fault of the run's node. */
const lostAfter = (kind: FaultKind, change: Partial<Fault> = {}) =>
  moved({
    faults: [aFault(kind, { at: -7_000, dockerWellAt: -6_500, wellAt: 2_000, ...change })],
    ...aLoss(),
  });

describe('the checker objects to a run that begins again', () => {
  it.each<[string, Evidence]>([
    ['when nothing happened', moved({})],
    ['when its node was cut off, and not given up', moved({ faults: [aCut()] })],
    ['when its node was given up, and had been heard of all the while', moved({ ...aLoss(), silences: [] })],
    ['when its node was given up, and nothing was done to it', moved(aLoss())],
    ['when its node was silent for long, and nothing was done to it', moved(aLoss({ from: -20_000 }))],
    [
      'when its node was given up, and nothing was heard of another',
      moved({
        faults: [aCut({ target: 'n1' })],
        ...aLoss(),
        silences: [{ node: 'n1', from: -7_500, to: 2_000 }],
      }),
    ],
    [
      'when its node was given up after it had left it',
      {
        ...moved({ faults: [aCut()], ...aLoss() }),
        leases: moved({}).leases.map((lease) => ({ ...lease, endedEvent: lease.grantedEvent + 400 })),
      },
    ],
    [
      'when its node was given up long before',
      moved({
        faults: [aCut({ at: -47_000, mendedAt: -40_000, wellAt: -39_000 })],
        silences: [{ node: 'n0', from: -48_000, to: -39_000 }],
        losses: [{ node: 'n0', at: -39_900, heardAt: -39_800, heardEvent: 500 }],
      }),
    ],
    [
      'when its node was given up after 4 s',
      moved({ faults: [aCut({ at: -3_400 })], ...aLoss({ from: -3_450 }) }),
    ],
    [
      'when its node was given up after it was heard of again',
      moved({ faults: [aCut()], ...aLoss({ to: -100 }) }),
    ],
    ['when another node was given up', moved({ faults: [aCut({ target: 'n1' })], ...aLoss({ node: 'n1' }) })],
    ['when its node was given up before it was there', moved({ faults: [aCut()], ...aLoss({ at: 50 }) })],
    ['when its node was given up only afterwards', moved({ faults: [aCut()], ...aLoss({ at: 1_200 }) })],
    [
      'when it was left before its node was given up',
      { ...moved({ faults: [aCut()], ...aLoss({ at: 1_200 }) }), leases: longHeld },
    ],
    ['when its node was cut off only afterwards', moved({ faults: [aCut({ at: 850 })], ...aLoss() })],
    ['when another node was cut off', moved({ faults: [aCut({ target: 'n1' })], ...aLoss() })],
    [
      'when its node had been cut off long before',
      moved({ faults: [aCut({ at: -20_000, mendedAt: -12_000, wellAt: -11_000 })], ...aLoss() }),
    ],
    [
      'when its daemon was killed, which keeps containers',
      moved({ faults: [aFault('kill-dockerd', { at: 5_000 })] }),
    ],
    [
      'when its daemon was killed that had run it for long',
      withLife({ ...moved({ faults: [aFault('kill-dockerd')] }), leases: heldSince(-6_000) }, 0, () => ({
        startedAt: -5_000,
      })),
    ],
    [
      'when its daemon was killed after it had ended in whatever way',
      moved({ faults: [aFault('kill-dockerd', { at: 1_300 })] }),
    ],
    [
      'when its daemon was killed after it had ended by itself',
      withLife(moved({ faults: [aFault('kill-dockerd', { at: 750 })] }), 0, () => ({ exitCode: 0 })),
    ],
    [
      'when the daemon of another node was killed',
      moved({ faults: [aFault('kill-dockerd', { at: 200, target: 'n1' })] }),
    ],
    [
      'when the disk was full before it began',
      moved({ faults: [aFault('fill-disk', { at: -9_000, mendedAt: -5_000, wellAt: -4_000 })] }),
    ],
    [
      'when the disk of another node was full',
      moved({ faults: [aFault('fill-disk', { target: 'n1', mendedAt: 650 })] }),
    ],
    ['when it failed, and has no retries', moved({ program: FAILS })],
    [
      'when it has retries, and had no container that failed',
      withLife(moved({ program: FAILS, order: { maxRetries: 1 } }), 0, () => undefined),
    ],
    [
      'when it has retries, and its container ended in another way',
      withLife(moved({ program: FAILS, order: { maxRetries: 2 } }), 0, () => ({ exitCode: 143 })),
    ],
    [
      'when it has retries, and nobody saw how it ended, without a cause',
      unseen(moved({ program: FAILS, order: { maxRetries: 1 } })),
    ],
    [
      'when the container of another run was killed',
      killed(moved({ faults: [{ ...KILL, container: 'other' }] })),
    ],
    [
      'when its container was killed afterwards',
      killed(moved({ faults: [{ ...KILL, at: 650, container: 'container-0-0' }] })),
    ],
    [
      'when a daemon was killed and was well again before it began',
      {
        ...moved({ faults: [aFault('kill-dockerd', { at: -1_000, wellAt: -800 })] }),
        leases: heldSince(-4_000),
      },
    ],
    [
      'when a daemon was killed long before, and it never began',
      withLife(
        {
          ...moved({ faults: [aFault('kill-dockerd', { at: -40_000, wellAt: -39_000 })] }),
          leases: heldSince(-41_000),
        },
        0,
        () => undefined,
      ),
    ],
    [
      'when nothing was heard of its node, to which nothing was done',
      moved({ silences: [{ node: 'n0', from: -13_100, to: 1_000 }] }),
    ],
    [
      'when the guard of another node acted',
      moved({
        faults: [aFault('kill-everything', { target: 'everything', at: -13_000, dockerWellAt: -12_000 })],
        silences: [{ node: 'n1', from: -13_100, to: 1_000 }],
      }),
    ],
    [
      'when its guard ended it, and nobody decided for long',
      withLife(
        {
          ...moved({
            faults: [aCut({ at: -60_000, mendedAt: -41_000, wellAt: -40_000 })],
            silences: [{ node: 'n0', from: -60_000, to: -40_000 }],
          }),
          leases: heldSince(-70_000),
        },
        0,
        () => ({ startedAt: -65_000, aliveUntil: -45_000 }),
      ),
    ],
    [
      'when its guard ended it before it was time',
      moved({
        faults: [aFault('kill-everything', { target: 'everything', at: -9_000 })],
        silences: [{ node: 'n0', from: -9_100, to: 1_000 }],
      }),
    ],
    [
      'when its guard ended it long after its node was back',
      moved({
        faults: [aFault('kill-everything', { target: 'everything', at: -40_000 })],
        silences: [{ node: 'n0', from: -40_100, to: -20_000 }],
      }),
    ],
  ])('%s', (_, evidence) => {
    expect(objections(evidence)).toContain('goes-on');
  });

  it.each((Object.keys(FAULT_KINDS) as FaultKind[]).filter((kind) => !canSilence(kind)))(
    'because of %s, whatever became of its node',
    (kind) => {
      expect(objections(lostAfter(kind, { target: 'n0' }))).toContain('goes-on');
    },
  );

  it('because of an outage of the control plane that is shorter than a lease', () => {
    for (const kind of [
      'kill-temporal',
      'kill-everything',
      'restart-workers',
      'kill-cluster-worker',
    ] as const) {
      expect(objections(lostAfter(kind, { target: 'everything' }))).toContain('goes-on');
    }
  });
});

/** Whether a fault of this kind alone can make a node be given up. */
function canSilence(kind: FaultKind): boolean {
  return [
    'kill-agent',
    'restart-agent',
    'stall-agent',
    'stall-agent-long',
    'cut-node',
    'cut-node-long',
  ].includes(kind);
}

function heldSince(grantedAt: number) {
  return moved({}).leases.map((lease) => (lease.resumption === 0 ? { ...lease, grantedAt } : lease));
}

describe('a run that gives way', () => {
  const winner = (change: object = {}, priority: 'high' | 'medium' | 'low' = 'high') => {
    const day = moved({ order: { preemptible: true, priority: 'low' } });
    const [order] = day.orders;
    const [lease] = day.leases;
    const rival = aDay();
    return {
      ...day,
      orders: [...day.orders, { ...order!, name: 'b', priority, preemptible: false, accepted: ['b-000002'] }],
      leases: [...day.leases, { ...lease!, run: 'b-000002', fence: 9, ...heldFor(950, 990), ...change }],
      executions: [...day.executions, { ...rival.executions[0], run: 'b-000002' }],
      containers: [
        ...day.containers,
        {
          ...day.containers[0]!,
          run: 'b-000002',
          id: 'b',
          fence: 9,
          startedAt: 955,
          aliveUntil: 980,
          exitCode: 0,
          seen: '',
        },
      ],
      logs: [...day.logs, { ...day.logs[0]!, run: 'b-000002', text: '' }],
    };
  };
  /** It never gets anything. */
  const closedAt = (at: number): Evidence => {
    const day = winner();
    return {
      ...day,
      leases: day.leases.slice(0, 2),
      executions: day.executions.map((execution) =>
        execution.run === RUN
          ? execution
          : { ...execution, closed: { at, type: 'ended', status: 'STOPPED' } },
      ),
    };
  };
  const goesOn = (evidence: Evidence) => objections(evidence).includes('goes-on');

  it('does so for one of a higher priority that gets what it had', () => {
    expect(goesOn(winner())).toBe(false);
    expect(goesOn(winner({}, 'medium'))).toBe(false);
    expect(goesOn(winner(heldFor(25_000, 26_000)))).toBe(false);
  });

  it('does so for one that is stopped while it still waits', () => {
    const day = winner();
    expect(goesOn({ ...day, leases: day.leases.slice(0, 2) })).toBe(false);
  });

  it.each<[string, Evidence]>([
    ['of the same priority', winner({}, 'low')],
    ['that got other GPUs', winner({ ranks: [{ node: 'n0', gpuIds: [1] }] })],
    ['that got them much later', winner(heldFor(40_000, 41_000))],
    ['that had them before', winner(heldFor(20, 50))],
    [
      'that came only later',
      {
        ...winner(),
        leases: winner().leases.slice(0, 2),
        executions: winner().executions.map((execution) => ({
          ...execution,
          startedAt: execution.run === RUN ? 0 : 700,
        })),
      },
    ],
    ['that waits for long', closedAt(40_000)],
    ['that had ended', closedAt(500)],
    [
      'that waits for ever',
      {
        ...winner(),
        leases: winner().leases.slice(0, 2),
        executions: winner().executions.map(({ closed, ...execution }) =>
          execution.run === RUN && closed ? { ...execution, closed } : execution,
        ),
      },
    ],
  ])('must not do so for one %s', (_, evidence) => {
    expect(goesOn(evidence)).toBe(true);
  });

  it('must be one that may', () => {
    const day = winner();
    const orders = day.orders.map((order) => ({ ...order, preemptible: false }));
    expect(goesOn({ ...day, orders })).toBe(true);
  });

  it('must not be believed', () => {
    const day = moved({ order: { preemptible: true, priority: 'low' } });
    const executions = day.executions.map((execution) => ({
      ...execution,
      steps: execution.steps.map((step) => ({
        ...step,
        reason: step.resumption === 0 ? 'Preempted' : step.reason,
      })),
    }));
    expect(objections({ ...day, executions })).toEqual(['goes-on']);
  });
});

describe('a run whose container was killed from outside', () => {
  const SEGFAULT: Program = { ...COUNTS_TO_FIVE, end: { type: 'signal', signal: 'KILL' } };
  const ended = { status: 'FAILED', reason: 'KilledBySignal', exitCode: 137 };

  it('must begin again', () => {
    expect(objections(aDay({ program: SEGFAULT, faults: [KILL], end: ended }))).toContain('killed-again');
    const day = aDay({ faults: [KILL] });
    expect(objections(withLife(day, 0, () => ({ exitCode: 137 })))).toContain('killed-again');
    expect(objections(unseen(day))).toContain('killed-again');
  });

  it('must begin again after the resumption in which that was', () => {
    const day = moved({ faults: [KILL, { ...KILL, container: 'container-1-0', at: 1_500 }] });
    expect(objections(withLife(killed(day), 1, () => ({ exitCode: 137 })))).toContain('killed-again');
  });

  it('must begin again also when it had failed by itself in an earlier resumption', () => {
    const day = moved({
      program: FAILS,
      order: { maxRetries: 1 },
      faults: [{ ...KILL, container: 'container-1-0', at: 1_500 }],
    });
    expect(objections(withLife(day, 1, () => ({ exitCode: 137 })))).toContain('killed-again');
  });

  it('may have come to its own end before', () => {
    const late = { ...KILL, at: 701 };
    expect(objections(aDay({ program: SEGFAULT, faults: [late], end: ended }))).toEqual([]);
    expect(objections(aDay({ faults: [KILL] }))).toEqual([]);
  });

  it('may have come to its end by another rank before', () => {
    const program: Program = { ...COUNTS_TO_FIVE, end: { type: 'rank-fails', rank: 1, code: 3 } };
    const end = { status: 'FAILED', reason: 'NonZeroExit', exitCode: 3 };
    const gang = (at: number) =>
      withLife(
        aDay({ program, resumptions: [['n0', 'n1']], end, faults: [{ ...KILL, at }] }),
        0,
        ({ rank }) => (rank === 0 ? { exitCode: 137, aliveUntil: at + 5 } : {}),
      );
    expect(objections(gang(710))).toEqual([]);
    expect(objections(gang(600))).toEqual(['killed-again']);
  });

  it('need not, when Docker has not said that it was', () => {
    const perhaps = { ...KILL, isUncertain: true };
    expect(objections(withLife(aDay({ faults: [perhaps] }), 0, () => ({})))).toEqual([]);
    expect(objections(killed(moved({ faults: [perhaps] })))).toEqual([]);
    expect(objections(unseen(moved({ faults: [perhaps] })))).toEqual(['goes-on']);
    expect(objections(killed(aDay({ faults: [perhaps] })))).not.toContain('killed-again');
  });

  it('may have been stopped', () => {
    const day = aDay({
      program: ENDLESS,
      order: { stops: { [RUN]: 400 } },
      end: { status: 'STOPPED', reason: 'StoppedByUser' },
      faults: [KILL],
    });
    expect(objections(killed(day))).toEqual([]);
  });
});

describe('retries', () => {
  const retried = (count: number, maxRetries: number, wish: Wish = {}) =>
    aDay({
      program: FAILS,
      order: { maxRetries },
      resumptions: Array.from({ length: count + 1 }, () => ['n0']),
      ...wish,
    });

  it('are as many as ordered', () => {
    expect(objections(retried(1, 1))).toEqual([]);
    expect(objections(retried(3, 3))).toEqual([]);
  });

  it.each([
    [0, 1],
    [2, 3],
    [2, 1],
    [5, 1],
  ])('are not %i where %i were ordered', (count, maxRetries) => {
    expect(objections(retried(count, maxRetries))).toEqual(['right-status']);
  });

  it('are not used up by what happens from outside', () => {
    expect(messages(killed(retried(1, 1, { faults: [KILL] })))).toContain(
      'it failed for good after 1 of its own failures, with 1 retries',
    );
    expect(objections(killed(retried(2, 1, { faults: [KILL] })))).toEqual([]);
  });

  it('may or may not be used up by a failure of which nobody could hear', () => {
    for (const count of [1, 2]) {
      expect(objections(retried(count, 1, { faults: [aCut()], ...aLoss() }))).toEqual([]);
    }
    expect(objections(retried(3, 1, { faults: [aCut()], ...aLoss() }))).toContain('right-status');
  });

  it('end when the program ends well', () => {
    const program: Program = { ...COUNTS_TO_FIVE, end: { type: 'fails-before', resumption: 2, code: 3 } };
    expect(objections(retried(2, 2, { program }))).toEqual([]);
    expect(objections(retried(2, 1, { program }))).toEqual(['right-status']);
  });
});
