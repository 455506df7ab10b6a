/** Where a run of Python went wrong first. */
import type { LogEntry } from '../core/log-entries.ts';
import type { LogChunk } from './log-reader.ts';

const TRACEBACK = 'Traceback (most recent call last):';
/** A traceback is a page or two: what goes on longer than this is something else. */
const MAX_ENTRIES = 1_000;

/**
 * The first traceback of a log: from its first line to the one that names the exception, of the rank that printed it.
 * Launchers put a prefix like `[rank1]: ` before each line; it counts for nothing.
 */
export async function* firstException(chunks: AsyncIterable<LogChunk>): AsyncGenerator<LogChunk> {
  let found: { readonly chunk: LogChunk; readonly prefix: string } | undefined;
  let count = 0;
  for await (const chunk of chunks) {
    if (found && !isSameRank(found.chunk, chunk)) continue;
    for (const entry of chunk.entries) {
      const text = textOf(entry);
      if (!found) {
        const at = text.indexOf(TRACEBACK);
        if (at !== -1) found = { chunk, prefix: text.slice(0, at) };
      }
      if (!found) continue;
      yield { ...chunk, entries: [entry], end: false };
      count += 1;
      const line = text.startsWith(found.prefix) ? text.slice(found.prefix.length) : text;
      const goesOn = /^(\s|$)/.test(line) || line.startsWith(TRACEBACK);
      if (!goesOn || count >= MAX_ENTRIES) return;
    }
  }
}

function isSameRank(a: LogChunk, b: LogChunk): boolean {
  return a.resumption === b.resumption && a.rank === b.rank;
}

function textOf({ bytes }: LogEntry): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();
}
