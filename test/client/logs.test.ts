import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { firstException } from '../../client/first-exception.ts';
import type { Logs, LogSelection } from '../../client/logs.ts';
import type { LogEntry } from '../../core/log-entries.ts';
import type { RankRef } from '../../core/naming.ts';
import * as support from '../support/logs.ts';
import { aReader, aRun, closeReaders, line, refOf, textOfAll, writeLog } from '../support/logs.ts';
import { useNats } from '../support/nats.ts';

const nats = useNats();
afterEach(closeReaders);

const aClient = (): Logs => aReader(nats.url);
const read = (selection: LogSelection): Promise<string> => textOfAll(aClient().read(selection));
const aFollower = (selection: LogSelection) => support.aFollower(aClient(), selection);
const write = (ref: RankRef, entries: readonly LogEntry[], endReason?: string): Promise<void> =>
  writeLog(nats.connection, ref, entries, endReason);

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

  it('reads no more than the end of a long log for its last lines', async () => {
    const run = aRun();
    const lines = Array.from({ length: 400 }, (_, number) => line(`${number} ${'x'.repeat(500)}`));
    for (let number = 0; number < 100; number += 1) await write(refOf(run), lines);
    let bytes = 0;
    const counter = createServer((socket) => {
      const server = connect(Number(new URL(nats.url).port), '127.0.0.1');
      server.on('data', (data) => (bytes += data.length));
      socket.pipe(server).pipe(socket);
      for (const side of [socket, server]) side.on('error', () => side.destroy());
    }).listen(0, '127.0.0.1');
    await once(counter, 'listening');
    const { port } = counter.address() as AddressInfo;
    const last = aReader(`nats://127.0.0.1:${port}`).read({ run, ranks: 1, resumption: 0, tail: 2 });
    expect((await textOfAll(last)).split('\n').map((text) => text.slice(0, 4))).toEqual(['398 ', '399 ', '']);
    expect(bytes).toBeLessThan(5_000_000);
    await closeReaders();
    counter.close();
  });

  it('gives the last lines of every rank whole, also where they are in many pieces', async () => {
    const run = aRun();
    const short = Array.from({ length: 12_000 }, (_, number) => line(String(number), number));
    const piece = { ...line('', 20_000), bytes: Buffer.from('x') };
    const long = [...Array.from({ length: 2_000 }, () => piece), line('', 20_000)];
    for (let at = 0; at < short.length; at += 1_000) {
      for (const rank of [0, 1]) await write(refOf(run, rank), short.slice(at, at + 1_000));
    }
    await write(refOf(run, 1), [...long, ...long]);
    const whole = `${'x'.repeat(2_000)}\n`;
    expect(await read({ run, ranks: 2, tail: 4 })).toBe(`11999\n11999\n${whole}${whole}`);
    const follower = aFollower({ run, ranks: 2, tail: 3 });
    await follower.has(whole);
    await write(refOf(run, 0), [line('after')], 'exit 0');
    await follower.has('after\n');
    follower.end();
    await follower.done;
    expect(follower.text()).toBe(`11999\n${whole}${whole}after\n`);
  });

  it('gives the end of a last line that never ends, and holds no more of it', async () => {
    const run = aRun();
    const piece = { ...line(''), bytes: Buffer.alloc(16_384, '\r') };
    for (let number = 0; number < 10; number += 1)
      await write(
        refOf(run),
        Array.from({ length: 15 }, () => piece),
      );
    const text = await read({ run, ranks: 1, tail: 1 });
    expect(text.length).toBeLessThanOrEqual(1_048_576);
    expect(text.length).toBeGreaterThan(0);
  });
});

describe('looking for what failed', () => {
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
    expect(await exceptionOf(run, 2)).toEqual([
      '[rank1]: Traceback (most recent call last):',
      '[rank1]:   File "train.py", line 3, in <module>',
      '[rank1]: ValueError: loss is nan',
    ]);
  });

  it('finds a traceback whole, whatever was printed between its lines, and whatever stood before it', async () => {
    const run = aRun();
    await write(refOf(run), [
      line('  0%|          | 0/10\rTraceback (most recent call last):', 1, 'stderr'),
      line('step 1: loss 0.1', 2),
      line('  File "train.py", line 3, in <module>', 3, 'stderr'),
      line('step 2: loss 0.1', 4),
      line('ValueError: loss is nan', 5, 'stderr'),
      line('and more', 6, 'stderr'),
    ]);
    expect(await exceptionOf(run)).toEqual([
      '  0%|          | 0/10\rTraceback (most recent call last):',
      '  File "train.py", line 3, in <module>',
      'ValueError: loss is nan',
    ]);
  });

  it('finds the traceback of the local rank that printed it first, of those that share a container', async () => {
    const run = aRun();
    const mixed = ['Traceback (most recent call last):', '  File "train.py", line 3', 'OutOfMemoryError: x'];
    await write(
      refOf(run),
      mixed.flatMap((text) => [line(`[rank1]: ${text}`), line(`[rank0]: ${text}`)]),
    );
    expect(await exceptionOf(run)).toEqual(mixed.map((text) => `[rank1]: ${text}`));
  });

  const exceptionOf = async (run: string, ranks = 1): Promise<string[]> => {
    const text = await textOfAll(firstException(aClient().read({ run, ranks })));
    return text.split('\n').slice(0, -1);
  };
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

  it('of one resumption ends when every rank has ended its log, whatever becomes of the run', async () => {
    const run = aRun();
    await write(refOf(run, 0), [line('a')], 'exit 0');
    const stored = aFollower({ run, ranks: 1, resumption: 0 });
    await stored.done;
    expect(stored.text()).toBe('a\n');
    const follower = aFollower({ run, ranks: 2, resumption: 0 });
    await follower.has('a\n');
    await write(refOf(run, 1), [line('b')], 'exit 1');
    await follower.done;
    expect(follower.text()).toBe('a\nb\n');
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

  it('keeps up with a rank that talks while another is silent', async () => {
    const run = aRun();
    const follower = aFollower({ run, ranks: 2 });
    const lines = Array.from({ length: 100 }, (_, number) => line(String(number), number));
    for (const one of lines) await write(refOf(run, 0), [one]);
    await follower.has('99\n', 2_000);
    follower.end();
    await follower.done;
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
