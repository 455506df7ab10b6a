import type { NatsConnection } from '@nats-io/transport-node';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { LogStream } from '../../activities/log-stream.ts';
import { createLogStream } from '../../activities/log-stream.ts';
import { Connections } from '../../client/connection.ts';
import { firstException } from '../../client/first-exception.ts';
import { Logs } from '../../client/logs.ts';
import type { LogChunk, LogSelection } from '../../client/logs.ts';
import type { LogEntry } from '../../core/log-entries.ts';
import type { RankRef } from '../../core/naming.ts';
import { eventually } from '../support/docker.ts';
import type { TestNats } from '../support/nats.ts';
import { startNats } from '../support/nats.ts';

let nats: TestNats;
let connection: NatsConnection;
let stream: LogStream;
const clients: Connections[] = [];
let runs = 0;

beforeAll(async () => {
  nats = await startNats();
  connection = await nats.connect();
  stream = createLogStream(Promise.resolve(connection));
});
afterEach(() => Promise.all(clients.splice(0).map((client) => client.close())));
afterAll(async () => {
  await connection.close();
  await nats.dispose();
});

function aClient(): Logs {
  const client = new Connections({ temporal: {}, namespace: 'none', natsUrl: nats.url });
  clients.push(client);
  return new Logs(client);
}

const aRun = (): string => `run-${(runs += 1)}`;
const refOf = (run: string, rank = 0, resumption = 0): RankRef => ({ run, resumption, rank });
const line = (text: string, timeMs = 0): LogEntry => {
  return { stream: 'stdout', timeNs: BigInt(timeMs) * 1_000_000n, bytes: Buffer.from(`${text}\n`) };
};

/** As a node does it: until it is stored, and never twice. */
async function write(ref: RankRef, entries: readonly LogEntry[], endReason?: string): Promise<void> {
  const addition = { entries, ...(endReason !== undefined && { endReason }) };
  const before = await untilItWorks(() => stream.position(ref));
  for (let at = before; at.nextEntry === before.nextEntry && at.ended === before.ended;) {
    at = await untilItWorks(async () => (await stream.append(ref, at, addition)) ?? stream.position(ref));
  }
}

async function untilItWorks<T>(step: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await step();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

const textOf = ({ entries }: LogChunk): string =>
  entries.map(({ bytes }) => Buffer.from(bytes).toString()).join('');

async function read(selection: LogSelection): Promise<string> {
  let text = '';
  for await (const chunk of aClient().read(selection)) text += textOf(chunk);
  return text;
}

/** A reader in the background: what it has so far, and how it is told that the run has ended. */
function aFollower(selection: LogSelection) {
  const ended = Promise.withResolvers<void>();
  const stopped = new AbortController();
  const chunks: LogChunk[] = [];
  const follow = async (): Promise<void> => {
    const options = { ended: ended.promise, signal: stopped.signal };
    for await (const chunk of aClient().follow(selection, options)) chunks.push(chunk);
  };
  return {
    done: follow(),
    end: () => ended.resolve(),
    stop: () => stopped.abort(),
    text: () => chunks.map(textOf).join(''),
    has: (text: string) =>
      eventually(
        () => Promise.resolve(chunks.map(textOf).join('')),
        (all) => all.includes(text),
      ),
  };
}

describe('reading a log', () => {
  it('gives what is stored of a rank and a resumption, and the end of it', async () => {
    const run = aRun();
    await write(refOf(run, 0, 0), [line('first')], 'exit 1');
    await write(refOf(run, 0, 1), [line('second')]);
    expect(await read({ run, ranks: 1 })).toBe('first\nsecond\n');
    expect(await read({ run, ranks: 1, resumption: 1 })).toBe('second\n');
    expect(await read({ run: aRun(), ranks: 1 })).toBe('');
  });

  it('puts the lines of all ranks in the order of their times, however late they were shipped', async () => {
    const run = aRun();
    await write(refOf(run, 1), [line('b1', 10), line('b3', 30), line('b5', 50)], 'exit 0');
    await write(refOf(run, 2), [], 'removed');
    await write(refOf(run, 0), [line('a2', 20)]);
    await write(refOf(run, 0), [line('a4', 40), line('a6', 60)], 'exit 0');
    expect(await read({ run, ranks: 4 })).toBe('b1\na2\nb3\na4\nb5\na6\n');
    expect(await read({ run, ranks: 4, rank: 0 })).toBe('a2\na4\na6\n');
  });

  it('gives the last lines, of all ranks together, and a long one whole', async () => {
    const run = aRun();
    const piece = { ...line(''), bytes: Buffer.alloc(16_384, 'x') };
    await write(refOf(run, 0), [line('a1', 10), piece, piece, line('y', 0), line('a3', 30)]);
    await write(refOf(run, 1), [line('b2', 20), line('b4', 40)]);
    expect(await read({ run, ranks: 2, tail: 2 })).toBe('a3\nb4\n');
    expect(await read({ run, ranks: 1, rank: 0, tail: 2 })).toBe(`${'x'.repeat(32_768)}y\na3\n`);
    expect(await read({ run, ranks: 2, tail: 0 })).toBe('');
  });
});

describe('looking for what failed', () => {
  it('knows the rank that ended first with an error', async () => {
    const run = aRun();
    const which = { run, resumption: 0, ranks: 4 };
    await write(refOf(run, 0), [line('fine')], 'exit 0');
    await write(refOf(run, 1), [line('open')]);
    expect(await aClient().firstFailedRank(which)).toBeUndefined();
    await write(refOf(run, 2), [line('first')], 'exit 1');
    await write(refOf(run, 3), [line('second')], 'exit 134');
    expect(await aClient().firstFailedRank(which)).toBe(2);
  });

  it('finds the first traceback of all ranks, without what others printed meanwhile', async () => {
    const run = aRun();
    const traceback = (rank: number, atMs: number): LogEntry[] => [
      line(`[rank${rank}]: Traceback (most recent call last):`, atMs),
      line(`[rank${rank}]:   File "train.py", line 3, in <module>`, atMs + 2),
      line(`[rank${rank}]: ValueError: loss is nan`, atMs + 4),
      line(`[rank${rank}]: and more`, atMs + 6),
    ];
    await write(refOf(run, 0), [line('step 1', 1), ...traceback(0, 20)]);
    await write(refOf(run, 1), [line('step 1', 2), ...traceback(1, 10)]);
    let text = '';
    for await (const chunk of firstException(aClient().read({ run, ranks: 2 }))) text += textOf(chunk);
    expect(text.split('\n')).toEqual([
      '[rank1]: Traceback (most recent call last):',
      '[rank1]:   File "train.py", line 3, in <module>',
      '[rank1]: ValueError: loss is nan',
      '',
    ]);
  });
});

describe('following a log', () => {
  it('gives what is there, then what comes, and ends behind the last line of an ended run', async () => {
    const run = aRun();
    await write(refOf(run), [line('before'), line('just before')]);
    const follower = aFollower({ run, ranks: 1, tail: 1 });
    await follower.has('just before\n');
    await write(refOf(run), [line('after')]);
    await follower.has('after\n');
    await write(refOf(run), [line('last')], 'exit 0');
    follower.end();
    await follower.done;
    expect(follower.text()).toBe('just before\nafter\nlast\n');
  });

  it('waits for a run that has not begun, and ends when it never does', async () => {
    const run = aRun();
    const follower = aFollower({ run, ranks: 2 });
    follower.end();
    await follower.done;
    expect(follower.text()).toBe('');
  });

  it('orders lines of several ranks that come at about the same time, and waits for no rank that is silent', async () => {
    const run = aRun();
    const follower = aFollower({ run, ranks: 3 });
    await write(refOf(run, 0), [line('a1', 10)]);
    await follower.has('a1\n');
    await write(refOf(run, 1), [line('b3', 30)]);
    await write(refOf(run, 0), [line('a2', 20)]);
    await follower.has('b3\n');
    follower.end();
    await follower.done;
    expect(follower.text()).toBe('a1\na2\nb3\n');
  });

  it('goes on by itself when NATS is killed again and again, without losing or doubling a line', async () => {
    const run = aRun();
    const count = 160;
    const follower = aFollower({ run, ranks: 2 });
    const others = aFollower({ run, ranks: 1, rank: 0 });
    for (let number = 0; number < count; number += 1) {
      for (const rank of [0, 1]) await write(refOf(run, rank), [line(`${rank}-${number}`, Date.now())]);
      if (number % 100 !== 50) continue;
      await nats.kill();
      await nats.start();
    }
    for (const one of [follower, others]) one.end();
    await Promise.all([follower.done, others.done]);
    for (const rank of [0, 1]) {
      const expected = Array.from({ length: count }, (_, number) => `${rank}-${number}`);
      const lines = follower.text().split('\n');
      expect(lines.filter((text) => text.startsWith(`${rank}-`))).toEqual(expected);
    }
    expect(others.text().split('\n')).toHaveLength(count + 1);
  }, 60_000);

  it('stops at once when it is told to', async () => {
    const run = aRun();
    await write(refOf(run), [line('there')]);
    const follower = aFollower({ run, ranks: 1 });
    await follower.has('there\n');
    await nats.kill();
    follower.stop();
    await follower.done;
    await nats.start();
  });
});
