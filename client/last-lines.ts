/** The end of a log. */
import type { LogEntry } from '../core/log-entries.ts';
import type { LogChunk } from './log-reader.ts';

const NEWLINE = 10;

/** The last lines of all ranks together, in their order; as much of the log is in memory as they have bytes. */
export async function* lastLines(chunks: AsyncIterable<LogChunk>, count: number): AsyncGenerator<LogChunk> {
  const lines: Line[] = [];
  // Per rank: its last line, while that goes on in the next entry.
  const open = new Map<string, Line>();
  for await (const chunk of chunks) {
    const key = `${chunk.resumption}/${chunk.rank}`;
    for (const entry of chunk.entries) {
      const line: Line = open.get(key) ?? { ...chunk, entries: [], end: false };
      if (!open.has(key)) lines.push(line);
      // A copy: an entry is a part of a message, which would stay in memory as a whole.
      if (!line.dropped) line.entries.push({ ...entry, bytes: entry.bytes.slice() });
      if (entry.bytes.at(-1) === NEWLINE) open.delete(key);
      else open.set(key, line);
    }
    for (const line of lines.splice(0, Math.max(0, lines.length - count))) line.dropped = true;
  }
  yield* lines;
}

interface Line extends LogChunk {
  readonly entries: LogEntry[];
  /** True when later lines have taken its place, though it may still go on. */
  dropped?: boolean;
}
