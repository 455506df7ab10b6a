import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MeetingPlace } from '../../faults/meeting-place.ts';
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
  holdsOn: false,
};

/** A rank of a gang, as in a container: the shell that runs the command has a trap of its own. */
async function startRank(port: number, rank: number, program: Program) {
  const script = `trap 'wait; exit 143' TERM\nset -e\n${bashOf(program, port)}`;
  const child = spawn('bash', ['-c', script], {
    env: { PATH: process.env['PATH'], RUN_NAME: NAME.run, RESUMPTION_INDEX: '1', NODE_RANK: String(rank) },
    stdio: ['ignore', 'pipe', 'ignore'],
    detached: true,
  });
  ranks.push(child);
  const ended = once(child, 'exit') as Promise<[number | null]>;
  const printed = text(child.stdout);
  return { child, hasBegun: once(child.stdout, 'data'), ended, printed };
}
const ranks: ChildProcess[] = [];

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

describe('ranks that hold on to each other', () => {
  const program: Program = { ...BASE, lines: 30, holdsOn: true };
  let place: MeetingPlace;
  let port: number;
  beforeEach(async () => {
    place = new MeetingPlace(2);
    place.server.listen(0, '127.0.0.1');
    await once(place.server, 'listening');
    ({ port } = place.server.address() as AddressInfo);
  });
  afterEach(() => {
    for (const rank of ranks.splice(0)) rank.kill('SIGKILL');
    place.server.close();
  });

  it('begin together, and end well when all come to their end', async () => {
    const first = await startRank(port, 0, program);
    const early = await Promise.race([first.hasBegun.then(() => true), sleep(300, false)]);
    expect(early).toBe(false);
    // The second takes longer, and the first waits for it.
    const second = await startRank(port, 1, { ...program, pauseMs: 30 });
    expect(await Promise.all([first.ended, second.ended])).toEqual([
      [0, null],
      [0, null],
    ]);
    expect((await first.printed).split('\n')).toHaveLength(31);
    expect((await second.printed).split('\n')).toHaveLength(31);
  });

  it('exit with 1 at once when the other is killed', async () => {
    const slow = { ...program, lines: 1_000, pauseMs: 5_000 };
    const [first, second] = await Promise.all([startRank(port, 0, slow), startRank(port, 1, slow)]);
    await Promise.all([first.hasBegun, second.hasBegun]);
    const at = Date.now();
    second.child.kill('SIGKILL');
    expect(await first.ended).toEqual([1, null]);
    expect(Date.now() - at).toBeLessThan(2_000);
  });

  it('exit with 1 when the other is killed where they wait for it to come to its end', async () => {
    const first = await startRank(port, 0, { ...program, lines: 3 });
    const second = await startRank(port, 1, { ...program, lines: 1_000, pauseMs: 100 });
    await second.hasBegun;
    await sleep(200);
    second.child.kill('SIGKILL');
    expect(await first.ended).toEqual([1, null]);
  });

  it('end at once when they are told to stop, also while they wait for the other', async () => {
    const first = await startRank(port, 0, program);
    await sleep(300);
    process.kill(-(first.child.pid ?? 0), 'SIGTERM');
    expect(await first.ended).toEqual([143, null]);
    const slow = { ...program, lines: 1_000, pauseMs: 5_000 };
    const both = await Promise.all([startRank(port, 0, slow), startRank(port, 1, slow)]);
    await Promise.all(both.map(({ hasBegun }) => hasBegun));
    process.kill(-(both[0].child.pid ?? 0), 'SIGTERM');
    expect((await both[0].ended)[0]).toBe(143);
    expect((await both[1].ended)[0]).toBe(1);
  });

  it('wait for a place to meet that is not there yet', async () => {
    const closed = await freePort();
    const first = await startRank(closed, 0, { ...program, lines: 3 });
    await sleep(200);
    const late = new MeetingPlace(1);
    late.server.listen(closed, '127.0.0.1');
    expect(await first.ended).toEqual([0, null]);
    late.server.close();
  });
});

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
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
