import { describe, expect, it } from 'vitest';
import type { Evidence, FollowedLog } from '../../faults/evidence.ts';
import { aCut, aDay, aFault, aLoss, RUN } from './evidence.ts';
import { messages, objections } from './objections.ts';

const line = (number: number, resumption = 0): string => `${RUN} ${resumption}.0 ${number}\n`;
const lines = (resumption: number, ...numbers: readonly number[]): string =>
  numbers.map((number) => line(number, resumption)).join('');
const FIRST = lines(0, 1, 2, 3, 4, 5);
const SECOND = lines(1, 1, 2, 3, 4, 5);

const followed = (day: Evidence, text: string, change: Partial<FollowedLog> = {}): Evidence => ({
  ...day,
  follows: [{ run: RUN, text, exitCode: 0, errors: '', ...change }],
});

/** A run that began again: because its container was killed, or because its node was cut off. */
function twice(why: 'killed' | 'cut off'): Evidence {
  if (why === 'cut off') return aDay({ resumptions: [['n0'], ['n1']], faults: [aCut()], ...aLoss() });
  const day = aDay({
    resumptions: [['n0'], ['n1']],
    faults: [aFault('kill-container', { container: 'container-0-0' })],
  });
  return {
    ...day,
    containers: day.containers.map((life) => (life.resumption === 0 ? { ...life, exitCode: 137 } : life)),
  };
}

describe('mcli logs --follow', () => {
  it.each<[string, Evidence]>([
    ['all of one resumption', followed(aDay(), FIRST)],
    ['all of two', followed(twice('killed'), FIRST + SECOND)],
    [
      'the rest of a node that was cut off late',
      followed(twice('cut off'), lines(0, 1, 2) + SECOND + lines(0, 3, 4, 5)),
    ],
    ['nothing of such a node', followed(twice('cut off'), SECOND)],
  ])('may print %s', (_, evidence) => {
    expect(messages(evidence)).toBe('');
  });

  it.each<[string, Evidence, string]>([
    ['lacks a resumption', followed(twice('killed'), SECOND), 'ends after line 0 of 5 of resumption 0'],
    [
      'lacks the end of an earlier resumption',
      followed(twice('killed'), lines(0, 1, 2) + SECOND),
      'ends after line 2 of 5 of resumption 0',
    ],
    [
      'lacks the end of the last resumption, whose node was there',
      followed(twice('cut off'), FIRST + lines(1, 1, 2)),
      'ends after line 2 of 5 of resumption 1',
    ],
    [
      'has the resumptions the wrong way round',
      followed(twice('killed'), SECOND + FIRST),
      'begins with the lines of resumption 1 before those of an earlier one are over',
    ],
    [
      'mixes resumptions',
      followed(twice('killed'), lines(0, 1, 2) + line(1, 1) + lines(0, 3, 4, 5) + lines(1, 2, 3, 4, 5)),
      'begins with the lines of resumption 1',
    ],
    [
      'has the lines of a late resumption in another order',
      followed(twice('cut off'), lines(0, 2, 1) + SECOND),
      'as line 1 of 5 of resumption 0',
    ],
    ['failed', followed(aDay(), FIRST, { exitCode: 1, errors: 'boom' }), 'ended with exit code 1: "boom"'],
    ['had to be killed', followed(aDay(), FIRST, { exitCode: null }), 'ended with exit code null'],
    ['has a line of another rank', followed(aDay(), `${FIRST}${RUN} 0.1 1\n`), 'what the log does not have'],
  ])('must not be one that %s', (_, evidence, message) => {
    expect(objections(evidence)).toEqual(['follow-whole']);
    expect(messages(evidence)).toContain(message);
  });

  it('prints what mcli itself has put into the log, and as often', () => {
    const remark = '[mcli] Lines are missing here.\n';
    const day = aDay({ faults: [aFault('fill-disk')] });
    const remarked = {
      ...day,
      logs: day.logs.map((log) => ({ ...log, text: FIRST + remark, times: [...log.times, 600] })),
    };
    expect(objections(followed(remarked, FIRST + remark))).toEqual([]);
    expect(objections(followed(remarked, FIRST + remark + remark))).toEqual(['follow-whole']);
  });
});

describe('mcli logs', () => {
  const read = (text: string, change: object = {}): Evidence => ({
    ...twice('killed'),
    reads: [{ run: RUN, resumption: 1, rank: 0, text, exitCode: 0, errors: '', ...change }],
  });

  it('prints one resumption byte for byte', () => {
    expect(objections(read(SECOND))).toEqual([]);
    expect(objections(read(SECOND.slice(0, -1)))).toEqual(['read-whole']);
    expect(objections(read(`${SECOND}\n`))).toEqual(['read-whole']);
    expect(objections(read(FIRST))).toEqual(['read-whole']);
    expect(objections(read(FIRST, { resumption: 0 }))).toEqual([]);
    expect(objections(read(SECOND, { exitCode: 1 }))).toEqual(['read-whole']);
  });

  it('tells where it goes off', () => {
    expect(messages(read(lines(1, 1, 2, 4)))).toContain('after 43 bytes: "4\\n"');
  });
});
