import { PassThrough } from 'node:stream';
import { WriteStream } from 'node:tty';
import { stripVTControlCharacters } from 'node:util';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { LogWriter } from '../../cli/output/log-writer.ts';
import type { LogFormat } from '../../cli/output/log-writer.ts';
import type { LogChunk } from '../../client/index.ts';
import { lastLines } from '../../client/last-lines.ts';

const PLAIN = { timestamps: false, ranks: false };
const RANKS = { timestamps: false, ranks: true };

function chunk(rank: number, texts: readonly string[], end = false): LogChunk {
  // What begins with `2>` was printed on stderr.
  const entries = texts.map((text) => ({
    stream: text.startsWith('2>') ? ('stderr' as const) : ('stdout' as const),
    timeNs: 1_795_456_752_265_640_668n,
    bytes: Buffer.from(text, 'latin1'),
  }));
  return { run: 'r', resumption: 0, rank, entries, end };
}

async function* arriving(chunks: readonly LogChunk[]): AsyncGenerator<LogChunk> {
  yield* chunks;
}

async function lastOf(chunks: readonly LogChunk[], count: number): Promise<LogChunk[]> {
  const last: LogChunk[] = [];
  for await (const one of lastLines(arriving(chunks), count)) last.push(one);
  return last;
}

async function written(format: LogFormat, chunks: readonly LogChunk[], isTerminal = false): Promise<string> {
  const stream = new PassThrough({ highWaterMark: 8 * 1_048_576 });
  const out = Object.assign(stream, {
    isTTY: isTerminal,
    getColorDepth: () => WriteStream.prototype.getColorDepth(),
  });
  const writer = new LogWriter(out, format);
  await writer.writeAll(arriving(chunks));
  return (out.read() as Buffer | null)?.toString('latin1') ?? '';
}

/** Whatever terminal or CI system runs the tests. */
function onColorTerminal(): void {
  for (const name of ['CI', 'FORCE_COLOR', 'NODE_DISABLE_COLORS', 'NO_COLOR']) vi.stubEnv(name, undefined);
  vi.stubEnv('TERM', 'xterm-256color');
}

afterEach(() => vi.unstubAllEnvs());

describe('the log of a run, written for people', () => {
  it('is byte for byte what the run printed, where nothing stands in front of the lines', async () => {
    expect(await written(PLAIN, [chunk(0, ['10%\r', 'a\0\xff\n', 'no newline'])])).toBe(
      '10%\ra\0\xff\nno newline',
    );
  });

  it('keeps lines of several ranks apart, though their pieces come in turns', async () => {
    const turns = [chunk(0, ['long ']), chunk(1, ['short\n']), chunk(0, ['line\n', 'rest'], true)];
    expect(await written(RANKS, turns)).toBe('[rank 1] short\n[rank 0] long line\n[rank 0] rest\n');
  });

  it('shows a last line without a newline, also of a rank whose log nobody has ended', async () => {
    const open = [chunk(0, ['one\n', 'ended'], true), chunk(1, ['lost'])];
    expect(await written(RANKS, open)).toBe('[rank 0] one\n[rank 0] ended\n[rank 1] lost\n');
    const last = await lastOf(open, 2);
    expect(await written(RANKS, last)).toBe('[rank 0] ended\n[rank 1] lost\n');
    const next = { ...chunk(0, ['next\n']), resumption: 1 };
    expect(await written(RANKS, [...last.slice(0, 1), next])).toBe('[rank 0] ended\n[rank 0] next\n');
  });

  it('keeps the two streams of a rank apart, where a line of one comes between the pieces of the other', async () => {
    const pieces = [chunk(0, ['long ', '2>warning\n', 'line\n'], true)];
    expect(await written(RANKS, pieces)).toBe('[rank 0] 2>warning\n[rank 0] long line\n');
    const last = await lastOf(pieces, 1);
    expect(await written(PLAIN, last)).toBe('long line\n');
  });

  it('shows the time of a line to the nanosecond', async () => {
    expect(await written({ timestamps: true, ranks: false }, [chunk(0, ['x\n'])])).toBe(
      '2026-11-23T17:59:12.265640668Z x\n',
    );
  });

  it('colours ranks on a terminal only, and never with NO_COLOR', async () => {
    onColorTerminal();
    const lines = [chunk(0, ['a\n']), chunk(1, ['b\n'])];
    const colored = await written(RANKS, lines, true);
    expect(stripVTControlCharacters(colored)).toBe('[rank 0] a\n[rank 1] b\n');
    const colors = colored.split('\n').map((line) => line.slice(0, line.indexOf('[rank')));
    expect(new Set(colors).size).toBe(3);
    expect(await written(RANKS, lines)).toBe('[rank 0] a\n[rank 1] b\n');
    vi.stubEnv('NO_COLOR', '1');
    expect(await written(RANKS, lines, true)).toBe('[rank 0] a\n[rank 1] b\n');
  });

  it('breaks a line that never ends, so that it does not fill the memory', async () => {
    const piece = 'x'.repeat(16_384);
    const text = await written(RANKS, [
      chunk(
        0,
        Array.from({ length: 200 }, () => piece),
        true,
      ),
    ]);
    const lines = text.split('\n');
    expect(lines.length).toBeGreaterThan(3);
    expect(text.replaceAll(/\[rank 0] |\n/g, '')).toBe(piece.repeat(200));
  });
});
