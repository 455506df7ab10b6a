/** The end of a log. */
import { LogLines } from './log-lines.ts';
import type { LogLine } from './log-lines.ts';
import type { LogChunk } from './log-reader.ts';

/** The last lines of all ranks together, in the order in which they were complete; only they are in memory. */
export async function* lastLines(chunks: AsyncIterable<LogChunk>, count: number): AsyncGenerator<LogChunk> {
  const lines = new LogLines();
  const last: LogChunk[] = [];
  const keep = (complete: Iterable<LogLine>): void => {
    for (const line of complete) last.push(kept(line));
    last.splice(0, Math.max(0, last.length - count));
  };
  for await (const chunk of chunks) {
    keep(lines.add(chunk));
    if (chunk.end) markEnd(last, chunk);
  }
  keep(lines.rest());
  yield* last;
}

/** A copy: an entry is a part of a message, which would stay in memory as a whole. */
function kept({ chunk, entries }: LogLine): LogChunk {
  const copies = entries.map((entry) => ({ ...entry, bytes: entry.bytes.slice() }));
  return { ...chunk, entries: copies, end: false };
}

function markEnd(last: LogChunk[], { resumption, rank }: LogChunk): void {
  const at = last.findLastIndex((line) => line.resumption === resumption && line.rank === rank);
  const line = last[at];
  if (line) last[at] = { ...line, end: true };
}
