/** Lines of logs, put together from the entries of chunks: those of each stream of a rank on their own. */
import { NEWLINE } from '../core/log-entries.ts';
import type { LogEntry } from '../core/log-entries.ts';
import type { LogChunk } from './log-reader.ts';

export interface LogLine {
  /** Where it began. */
  readonly chunk: LogChunk;
  readonly timeNs: bigint;
  readonly entries: LogEntry[];
  bytes: number;
}

/** A longer line is broken, so that one without an end does not fill the memory. */
const LONGEST_LINE_BYTES = 1_048_576;

export class LogLines {
  /** Lines that go on in the next entry of their stream, by rank. */
  readonly #open = new Map<string, Record<LogEntry['stream'], LogLine | undefined>>();

  /** The lines that this chunk completes; with the end of a rank, also what is left of it. */
  *add(chunk: LogChunk): Generator<LogLine> {
    const key = `${chunk.resumption}/${chunk.rank}`;
    const open = this.#open.get(key) ?? { stdout: undefined, stderr: undefined };
    this.#open.set(key, open);
    for (const entry of chunk.entries) {
      const line = (open[entry.stream] ??= { chunk, timeNs: entry.timeNs, entries: [], bytes: 0 });
      line.entries.push(entry);
      line.bytes += entry.bytes.length;
      if (!endsLine(entry) && line.bytes < LONGEST_LINE_BYTES) continue;
      open[entry.stream] = undefined;
      yield line;
    }
    if (!chunk.end) return;
    this.#open.delete(key);
    yield* Object.values(open).filter((line) => line !== undefined);
  }

  /** What is left of all ranks. */
  *rest(): Generator<LogLine> {
    for (const open of this.#open.values()) {
      yield* Object.values(open).filter((line) => line !== undefined);
    }
    this.#open.clear();
  }
}

export function endsLine({ bytes }: LogEntry): boolean {
  return bytes.at(-1) === NEWLINE;
}
