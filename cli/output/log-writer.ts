/** Turns chunks of logs into what people read. */
import type { Writable } from 'node:stream';
import { styleText } from 'node:util';
import type { LogChunk } from '../../client/index.ts';
import type { LogEntry } from '../../core/log-entries.ts';

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
  private readonly openLines = new Map<string, OpenLine>();
  private readonly names = new Map<number, string>();

  constructor(out: Writable, format: LogFormat) {
    this.out = out;
    this.format = format;
  }

  /** Resolves when the stream can take more: a slow terminal slows the reader down, and nothing piles up. */
  async write(chunk: LogChunk): Promise<void> {
    const bytes = this.format.timestamps || this.format.ranks ? this.lines(chunk) : plain(chunk.entries);
    if (bytes.length === 0 || this.out.write(bytes)) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.out.off('drain', done).off('close', done);
        resolve();
      };
      this.out.once('drain', done).once('close', done);
    });
  }

  private lines(chunk: LogChunk): Buffer {
    const key = `${chunk.resumption}/${chunk.rank}`;
    const parts: Uint8Array[] = [];
    for (const entry of chunk.entries) {
      const line = this.openLines.get(key) ?? { parts: [this.prefix(chunk, entry)], bytes: 0 };
      line.parts.push(entry.bytes);
      line.bytes += entry.bytes.length;
      const isWhole = entry.bytes.at(-1) === NEWLINE;
      if (isWhole || line.bytes >= LONGEST_LINE_BYTES) {
        parts.push(...line.parts);
        if (!isWhole) parts.push(Uint8Array.of(NEWLINE));
        this.openLines.delete(key);
      } else this.openLines.set(key, line);
    }
    const rest = this.openLines.get(key);
    if (chunk.end && rest) {
      parts.push(...rest.parts, Uint8Array.of(NEWLINE));
      this.openLines.delete(key);
    }
    return Buffer.concat(parts);
  }

  private prefix({ rank }: LogChunk, { timeNs }: LogEntry): Uint8Array {
    const time = this.format.timestamps ? `${isoNanos(timeNs)} ` : '';
    return Buffer.from(`${time}${this.format.ranks ? this.name(rank) : ''}`);
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

interface OpenLine {
  readonly parts: Uint8Array[];
  bytes: number;
}

/** A longer line is broken, so that one without an end does not fill the memory. */
const LONGEST_LINE_BYTES = 1_048_576;
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
const NEWLINE = 10;

function plain(entries: readonly LogEntry[]): Buffer {
  return Buffer.concat(entries.map(({ bytes }) => bytes));
}

/** `2026-01-02T03:04:05.678901234Z`. */
function isoNanos(timeNs: bigint): string {
  const date = new Date(Number(timeNs / 1_000_000n));
  const nanos = String(timeNs % 1_000_000_000n).padStart(9, '0');
  return `${date.toISOString().slice(0, 19)}.${nanos}Z`;
}
