import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { bashOf, isLine, lineOf, naturalExit } from '../../faults/program.ts';
import type { Program } from '../../faults/program.ts';

const NAME = { run: 'a-000001', resumption: 1, rank: 0 };
const BASE: Program = {
  lines: 7,
  burst: 3,
  pauseMs: 10,
  binary: false,
  onTerm: 'unprepared',
  end: { type: 'exit', code: 0 },
};

/** As in a container, with SIGTERM after the first lines where that is asked for. */
async function run(program: Program, { term = false } = {}): Promise<{ lines: string[]; code: number }> {
  const child = spawn('bash', ['-c', `set -e\n${bashOf(program)}`], {
    env: { PATH: process.env['PATH'], RUN_NAME: NAME.run, RESUMPTION_INDEX: '1', NODE_RANK: '0' },
    stdio: ['ignore', 'pipe', 'ignore'],
    detached: true,
  });
  child.stdout.setEncoding('latin1');
  // The whole process group, as the init process of a container does it.
  if (term) child.stdout.once('data', () => process.kill(-(child.pid ?? 0), 'SIGTERM'));
  const [printed, [code]] = await Promise.all([text(child.stdout), once(child, 'exit') as Promise<[number]>]);
  return { lines: printed.split('\n').slice(0, -1), code };
}

describe('a program of the suite', () => {
  it.each<[string, Partial<Program>]>([
    ['counts in bursts', {}],
    ['prints what is no text', { binary: true }],
    ['fails', { end: { type: 'exit', code: 9 } }],
    ['dies by a signal', { end: { type: 'signal', signal: 'SEGV' } }],
    ['has a child that is killed', { end: { type: 'signal', signal: 'KILL' } }],
    ['fails in its first two resumptions', { end: { type: 'fails-before', resumption: 2, code: 4 } }],
    ['fails in its first resumption', { end: { type: 'fails-before', resumption: 1, code: 4 } }],
    ['fails on one rank', { end: { type: 'rank-fails', rank: 0, code: 5 } }],
  ])('does what is known of it: it %s', async (_, change) => {
    const program = { ...BASE, ...change };
    const { lines, code } = await run(program);
    expect(lines).toEqual(Array.from({ length: 7 }, (_, index) => lineOf(program, NAME, index + 1)));
    expect(code).toBe(naturalExit(program, NAME));
  });

  it.each<[Program['onTerm'], number]>([
    ['save', 1],
    ['linger', 4],
  ])('goes on counting when it is told to stop: %s', async (onTerm, more) => {
    const program = { ...BASE, lines: null, pauseMs: 300, onTerm };
    const { lines, code } = await run(program, { term: true });
    expect(code).toBe(0);
    expect(lines).toHaveLength(3 + more);
    for (const [index, line] of lines.entries()) expect(isLine(program, NAME, index + 1, line)).toBe(true);
    expect(lines.slice(0, 3)).toEqual([1, 2, 3].map((number) => lineOf(program, NAME, number)));
  });
});
