import { describe, expect, it } from 'vitest';
import type { ContainerLife, Evidence, Fault } from '../../faults/evidence.ts';
import type { Program } from '../../faults/program.ts';
import { aDay, aFault, COUNTS_TO_FIVE, ENDLESS, RUN, withoutExit } from './evidence.ts';
import { messages, objections } from './objections.ts';

const line = (number: number): string => `${RUN} 0.0 ${number}\n`;
const lines = (...numbers: readonly number[]): string => numbers.map(line).join('');
const STOPPED = { status: 'STOPPED', reason: 'StoppedByUser' };
const stopped = (wish: Parameters<typeof aDay>[0] = {}) =>
  aDay({ program: ENDLESS, order: { stops: { [RUN]: 400 } }, end: STOPPED, ...wish });

interface Prints {
  readonly logged: string;
  /** By default what is logged. */
  readonly seen?: string;
  /** Of the lines of the log; by default one every 50 ms, from the start of the container at 300 on. */
  readonly times?: readonly number[];
  readonly life?: (life: ContainerLife) => ContainerLife;
}

/** A day on which the one container has printed what the program is not known for. */
function printing(day: Evidence, { logged, seen = logged, times, life = (same) => same }: Prints): Evidence {
  const whole = logged.split('\n').length - 1;
  return {
    ...day,
    containers: day.containers.map((container) => life({ ...container, seen })),
    logs: day.logs.map((log) => ({
      ...log,
      text: logged,
      times: times ?? Array.from({ length: whole }, (_, index) => 300 + 50 * index),
    })),
  };
}

describe('a run that ended by itself', () => {
  it('has all the lines of its program in its log, whatever anybody saw of its end', () => {
    const cut = { logged: lines(1, 2, 3) };
    expect(objections(printing(aDay(), cut))).toEqual(['lines-once']);
    expect(objections(printing(aDay(), { ...cut, life: withoutExit }))).toContain('lines-once');
    const killed = (life: ContainerLife) => ({ ...life, exitCode: 137 });
    expect(objections(printing(aDay(), { ...cut, life: killed }))).toContain('lines-once');
  });

  it('need not have those of a rank that would have gone on', () => {
    const program: Program = { ...COUNTS_TO_FIVE, end: { type: 'rank-fails', rank: 1, code: 3 } };
    const end = { status: 'FAILED', reason: 'NonZeroExit', exitCode: 3 };
    const day = aDay({ program, resumptions: [['n0', 'n1']], end });
    const first = printing({ ...day, logs: day.logs.slice(0, 1) }, { logged: lines(1, 2) });
    const gang = {
      ...day,
      containers: [first.containers[0]!, day.containers[1]!],
      logs: [first.logs[0]!, day.logs[1]!],
    };
    expect(objections(gang)).toEqual([]);
  });

  it('need not have those of a resumption in which it was killed before it could kill itself', () => {
    const day = aDay({
      program: { ...COUNTS_TO_FIVE, end: { type: 'signal', signal: 'KILL' } },
      resumptions: [['n0'], ['n1']],
      end: { status: 'FAILED', reason: 'KilledBySignal', exitCode: 137 },
      faults: [aFault('kill-container', { container: 'container-0-0', at: 760 })],
    });
    const short = printing(day, { logged: lines(1, 2) });
    const evidence = {
      ...day,
      containers: [short.containers[0]!, day.containers[1]!],
      logs: [short.logs[0]!, day.logs[1]!],
    };
    expect(messages(evidence)).not.toContain('lost of 5');
    const later = { ...evidence, faults: [{ ...day.faults[0]!, at: 1_300 }] };
    expect(messages(later)).toContain('lost of 5');
  });

  it('need not have those of a resumption that was killed', () => {
    const day = aDay({
      resumptions: [['n0'], ['n1']],
      faults: [aFault('kill-container', { container: 'container-0-0' })],
    });
    const short = printing(day, { logged: lines(1, 2), life: (life) => ({ ...life, exitCode: 137 }) });
    const evidence = {
      ...day,
      containers: [short.containers[0]!, day.containers[1]!],
      logs: [short.logs[0]!, day.logs[1]!],
    };
    expect(objections(evidence)).toEqual([]);
  });
});

describe('what Docker has lost itself', () => {
  const TIMES = [5_000, 6_000, 14_000, 15_000];
  /** Lines 1 to 5 in ten seconds, without the third: somewhere between 6,000 and 14,000. */
  const gap = (...faults: readonly Fault[]) =>
    printing(aDay({ faults }), {
      logged: lines(1, 2, 4, 5),
      times: TIMES,
      life: (life) => ({ ...life, aliveUntil: 16_000 }),
    });
  const lost = (evidence: Evidence) => messages(evidence).includes('lines 3 (1 in all) are lost of 5');

  it.each<[string, Fault]>([
    ['killed in between', aFault('kill-dockerd', { at: 10_000, wellAt: 11_000 })],
    ['killed just behind it', aFault('kill-dockerd', { at: 14_900, wellAt: 15_500 })],
    ['back just before it', aFault('kill-dockerd', { at: 4_000, wellAt: 5_100 })],
    ['full in between', aFault('fill-disk', { at: 9_000, mendedAt: 10_000, wellAt: 11_000 })],
    [
      'killed with everything',
      aFault('kill-everything', { at: 10_000, target: 'everything', wellAt: 11_000 }),
    ],
  ])('may be missing near a fault of Docker: %s', (_, fault) => {
    expect(lost(gap(fault))).toBe(false);
  });

  it.each<[string, Fault]>([
    ['later', aFault('kill-dockerd', { at: 15_100, wellAt: 15_900 })],
    ['earlier', aFault('kill-dockerd', { at: 3_000, wellAt: 4_900 })],
    ['on another node', aFault('kill-dockerd', { at: 10_000, target: 'n1' })],
    ['of another part', aFault('kill-agent', { at: 10_000 })],
    ['of another part', aFault('kill-nats', { at: 10_000, target: 'n0' })],
  ])('may not be missing because of a fault %s', (_, fault) => {
    expect(lost(gap(fault))).toBe(true);
  });

  it('may be the end, also when it was killed just afterwards', () => {
    const day = (at: number) =>
      printing(aDay({ faults: [aFault('kill-dockerd', { at })] }), { logged: lines(1, 2, 3, 4) });
    expect(objections(day(720))).toEqual([]);
    expect(objections(day(1_800))).toEqual(['lines-once']);
  });

  it('may be the beginning', () => {
    const day = (at: number) =>
      printing(aDay({ faults: [aFault('kill-dockerd', { at, wellAt: at + 10 })] }), {
        logged: lines(2, 3, 4, 5),
        times: [5_000, 5_100, 5_200, 5_300],
        life: (life) => ({ ...life, aliveUntil: 6_000 }),
      });
    expect(objections(day(310))).toEqual(expect.not.arrayContaining(['lines-once']));
    expect(objections(day(6_500))).toContain('lines-once');
  });

  it('may not be missing when the checker has seen it', () => {
    const day = printing(aDay({ faults: [aFault('kill-dockerd')] }), {
      logged: lines(1, 2, 4, 5),
      seen: lines(1, 2, 3, 4, 5),
    });
    expect(messages(day)).toContain('lines 3 (1 in all) are lost, which Docker had');
  });

  it('may have left a torn line at that time', () => {
    const torn = (at: number) =>
      printing(aDay({ faults: [aFault('kill-dockerd', { at: 5_000, wellAt: 5_500 })] }), {
        logged: `${lines(1, 2)}0.0 3\n${lines(4, 5)}`,
        seen: lines(1, 2),
        times: [300, 400, at, 9_000, 9_100],
        life: (life) => ({ ...life, aliveUntil: 9_200 }),
      });
    expect(messages(torn(5_300))).not.toContain('never printed');
    expect(messages(torn(8_000))).toContain('never printed');
  });

  it.each([`${RUN} 0.?\n`, '[mcli] Lines are missing here.\n'])(
    'may have left this at any time: %j',
    (odd) => {
      const left = (faults: readonly Fault[], seen: string) =>
        messages(
          printing(aDay({ faults }), {
            logged: lines(1, 2) + odd + lines(3, 4, 5),
            seen,
            times: [300, 400, 8_000, 8_100, 8_200, 8_300],
            life: (life) => ({ ...life, aliveUntil: 9_200 }),
          }),
        );
      // What mcli remarks, Docker does not have.
      const seen = odd.startsWith('[mcli]') ? lines(1, 2, 3, 4, 5) : lines(1, 2) + odd + lines(3, 4, 5);
      const fault = aFault('kill-dockerd', { at: 5_000, wellAt: 5_500 });
      expect(left([fault], seen)).not.toContain('never printed');
      expect(left([], seen)).toContain('never printed');
      if (!odd.startsWith('[mcli]')) expect(left([fault], lines(1, 2))).toContain('never printed');
    },
  );
});

describe('a program that was killed', () => {
  const cutOff = (rest: string, wish: Parameters<typeof aDay>[0] = {}) =>
    objections(printing(stopped(wish), { logged: lines(1, 2, 3) + rest }));
  const LINGERS: Program = { ...ENDLESS, onTerm: 'linger' };

  it.each([`${RUN} 0.0`, `${RUN} 0.0 4`])('may leave a piece of its next line: %s', (rest) => {
    expect(cutOff(rest)).toEqual([]);
  });

  it.each([`${RUN} 0.0 5`, `${RUN} 0.1`, `${RUN} 0.0 4 sav`])('may not leave another piece: %s', (rest) => {
    expect(cutOff(rest)).toEqual(['lines-once']);
  });

  it('may have been in the middle of its last words, if it has some', () => {
    expect(cutOff(`${RUN} 0.0 4 sav`, { program: LINGERS })).toEqual([]);
  });

  it('may have lost to Docker what stands before the piece', () => {
    const faults = [aFault('kill-dockerd')];
    expect(cutOff(`${RUN} 0.0 6`, { faults })).toEqual([]);
    expect(cutOff(`${RUN} 0.`, { faults })).toEqual([]);
    expect(cutOff('something else', { faults })).toEqual(['lines-once']);
  });

  it('has all lines up to its last in its log', () => {
    expect(objections(printing(stopped(), { logged: lines(1, 2, 4) }))).toEqual(['lines-once']);
  });
});

describe('a program that ends well after SIGTERM', () => {
  const ends = (
    onTerm: Program['onTerm'],
    saved: number,
    wish: Parameters<typeof aDay>[0] = {},
    startedAt = 300,
  ) => {
    const words = Array.from({ length: saved }, (_, index) => `${RUN} 0.0 ${index + 3} saved\n`).join('');
    return objections(
      printing(stopped({ program: { ...ENDLESS, onTerm }, ...wish }), {
        logged: lines(1, 2) + words,
        life: (life) => ({ ...life, startedAt, exitCode: 0 }),
      }),
    );
  };

  it.each([
    ['save', 1],
    ['linger', 4],
    ['unprepared', 0],
  ] as const)('has said its last words: %s', (onTerm, count) => {
    expect(ends(onTerm, count)).toEqual([]);
    if (count > 0) expect(ends(onTerm, count - 1)).toEqual(['lines-once']);
  });

  it('has said them, but for what a fault of Docker hides', () => {
    const fault = (at: number) => ({ faults: [aFault('kill-dockerd', { at, wellAt: at + 100 })] });
    expect(ends('save', 0, fault(690))).toEqual([]);
    // The last line is of 350: what Docker could not write then, it can not read beyond.
    expect(ends('save', 0, fault(400))).toEqual([]);
    expect(ends('save', 0, fault(-3_000))).toEqual(['lines-once']);
    expect(ends('save', 0, fault(-3_000), -4_000)).toContain('lines-once');
  });
});

describe('a log', () => {
  it('is of a container that somebody saw', () => {
    expect(messages({ ...aDay(), containers: [] })).toContain(
      'it has a log, and no container of it was ever seen',
    );
  });
});

describe('the witness', () => {
  const slept = (lastAt: number, faults: readonly Fault[] = []) =>
    messages(
      printing(aDay({ faults }), {
        logged: lines(1, 2, 3, 4, 5),
        seen: '',
        times: [300, 400, 500, 600, lastAt],
        life: (life) => ({ ...life, aliveUntil: lastAt }),
      }),
    );

  it('must have read along with what was printed for some seconds', () => {
    expect(slept(2_400)).toContain('nobody has read along');
    expect(slept(2_200)).not.toContain('nobody has read along');
    expect(slept(2_400, [aFault('kill-dockerd')])).not.toContain('nobody has read along');
  });
});
