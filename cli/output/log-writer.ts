/** Turns chunks of logs into what people read. */
import type { Writable } from 'node:stream';
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
  private readonly openLines = new Map<string, Uint8Array[]>();

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
      const open = this.openLines.get(key);
      if (open) open.push(entry.bytes);
      else this.openLines.set(key, [this.prefix(chunk, entry), entry.bytes]);
      if (entry.bytes.at(-1) !== NEWLINE) continue;
      parts.push(...(this.openLines.get(key) ?? []));
      this.openLines.delete(key);
    }
    const rest = this.openLines.get(key);
    if (chunk.end && rest) {
      parts.push(...rest, Uint8Array.of(NEWLINE));
      this.openLines.delete(key);
    }
    return Buffer.concat(parts);
  }

  private prefix({ rank }: LogChunk, { timeNs }: LogEntry): Uint8Array {
    const time = this.format.timestamps ? `${isoNanos(timeNs)} ` : '';
    const name = this.format.ranks ? `[rank ${rank}] ` : '';
    return Buffer.from(`${time}${name}`);
  }
}

/** Keeps the last lines of a log in bounded memory. */
export class Tail {
  private readonly lines: LogChunk[] = [];
  private readonly limit: number;

  constructor(limit: number) {
    this.limit = limit;
  }

  add(chunk: LogChunk): void {
    for (const entry of chunk.entries) {
      const last = this.lines.at(-1);
      const continues = last && last.rank === chunk.rank && last.entries.at(-1)?.bytes.at(-1) !== NEWLINE;
      if (continues) this.lines[this.lines.length - 1] = { ...last, entries: [...last.entries, entry] };
      else this.lines.push({ ...chunk, entries: [entry], end: false });
    }
    if (this.lines.length > this.limit) this.lines.splice(0, this.lines.length - this.limit);
  }

  async writeTo(writer: LogWriter): Promise<void> {
    for (const line of this.lines.splice(0)) await writer.write(line);
  }
}

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
