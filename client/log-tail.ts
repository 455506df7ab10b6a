/** The last lines of a rank's log, without reading all that stands before them. */
import { lastLines } from './last-lines.ts';
import type { LogChunk, LogReader } from './log-reader.ts';

/** A line has one entry; only one of more than 16 KiB has several. */
const SPARE_ENTRIES = 1_000;

export interface LogTail {
  readonly lines: readonly LogChunk[];
  /** Goes on behind them. */
  readonly reader: LogReader;
}

export async function readTail(
  makeReader: () => LogReader,
  count: number,
  signal: AbortSignal,
): Promise<LogTail> {
  for (let entries = 2 * count + SPARE_ENTRIES; ; entries *= 16) {
    const reader = makeReader();
    const isPart = await reader.skipTo(entries);
    const lines: LogChunk[] = [];
    // One more than wanted: the first may lack its beginning.
    const found = lastLines(reader.chunks({ ended: AbortSignal.abort(), signal }), count + 1);
    for await (const line of found) lines.push(line);
    if (lines.length <= count && isPart && !signal.aborted) continue;
    return { lines: lines.slice(Math.max(0, lines.length - count)), reader };
  }
}
