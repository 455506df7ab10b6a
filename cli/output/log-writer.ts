/** Turns chunks of logs into what people read. */
import type { Writable } from 'node:stream';
import { styleText } from 'node:util';
import type { LogChunk } from '../../client/index.ts';
import { endsLine, LogLines } from '../../client/log-lines.ts';
import type { LogLine } from '../../client/log-lines.ts';
import { NEWLINE } from '../../core/log-entries.ts';

export interface LogFormat {
  readonly timestamps: boolean;
  /** Names the rank in front of every line. */
  readonly ranks: boolean;
}

/**
 * Writes logs byte for byte where nothing has to stand in front of a line, so that progress bars live; line by line
 * otherwise, so that ranks never mix within one.
 */
export class LogWriter {
  private readonly out: Writable;
  private readonly format: LogFormat;
  private readonly lines = new LogLines();
  private readonly names = new Map<number, string>();

  constructor(out: Writable, format: LogFormat) {
    this.out = out;
    this.format = format;
  }

  /** A whole log, to its last line: nobody says of a log that goes on, or of a lost node, that it has ended. */
  async writeAll(chunks: AsyncIterable<LogChunk>): Promise<void> {
    for await (const chunk of chunks) await this.write(chunk);
    await this.finish();
  }

  /** Resolves when the stream can take more: a slow terminal slows the reader down, and nothing piles up. */
  async write(chunk: LogChunk): Promise<void> {
    const { timestamps, ranks } = this.format;
    const parts =
      timestamps || ranks ? this.formatted(this.lines.add(chunk)) : chunk.entries.map(({ bytes }) => bytes);
    await this.print(parts);
  }

  /** What has no newline yet, since nothing more comes. */
  async finish(): Promise<void> {
    await this.print(this.formatted(this.lines.rest()));
  }

  private async print(parts: readonly Uint8Array[]): Promise<void> {
    const bytes = Buffer.concat(parts);
    if (bytes.length === 0 || this.out.write(bytes)) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.out.off('drain', done).off('close', done);
        resolve();
      };
      this.out.once('drain', done).once('close', done);
    });
  }

  private formatted(lines: Iterable<LogLine>): Uint8Array[] {
    const parts: Uint8Array[] = [];
    for (const line of lines) {
      parts.push(this.prefix(line));
      for (const entry of line.entries) parts.push(entry.bytes);
      const last = line.entries.at(-1);
      if (last && !endsLine(last)) parts.push(Uint8Array.of(NEWLINE));
    }
    return parts;
  }

  private prefix({ chunk, timeNs }: LogLine): Uint8Array {
    const time = this.format.timestamps ? `${isoNanos(timeNs)} ` : '';
    return Buffer.from(`${time}${this.format.ranks ? this.name(chunk.rank) : ''}`);
  }

  /** In colour on a terminal, where nobody has set NO_COLOR. */
  private name(rank: number): string {
    const known = this.names.get(rank);
    if (known !== undefined) return known;
    const color = RANK_COLORS[rank % RANK_COLORS.length] ?? 'cyan';
    const name = `${styleText(color, `[rank ${rank}]`, { stream: this.out })} `;
    this.names.set(rank, name);
    return name;
  }
}

/** Those that are readable on a dark and on a light background, and say nothing of success or failure. */
const RANK_COLORS = [
  'cyan',
  'magenta',
  'yellow',
  'blue',
  'cyanBright',
  'magentaBright',
  'blueBright',
] as const;

/** `2026-01-02T03:04:05.678901234Z`. */
function isoNanos(timeNs: bigint): string {
  const date = new Date(Number(timeNs / 1_000_000n));
  const nanos = String(timeNs % 1_000_000_000n).padStart(9, '0');
  return `${date.toISOString().slice(0, 19)}.${nanos}Z`;
}
