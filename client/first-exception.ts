/** Where a run of Python went wrong first. */
import { LogLines } from './log-lines.ts';
import type { LogLine } from './log-lines.ts';
import type { LogChunk } from './log-reader.ts';

const TRACEBACK = 'Traceback (most recent call last):';
/** A traceback is a page or two: what goes on longer than this is something else. */
const MAX_LINES = 1_000;

/**
 * The first traceback of a log: from its first line to the one that names the exception, of the rank and the stream that it
 * was printed on. What others have printed in between is left out.
 */
export async function* firstException(chunks: AsyncIterable<LogChunk>): AsyncGenerator<LogChunk> {
  let traceback: Traceback | undefined;
  for await (const line of linesOf(chunks)) {
    traceback ??= Traceback.beginningIn(line);
    if (!traceback?.takes(line)) continue;
    yield { ...line.chunk, entries: line.entries, end: false };
    if (traceback.isOver) return;
  }
}

async function* linesOf(chunks: AsyncIterable<LogChunk>): AsyncGenerator<LogLine> {
  const lines = new LogLines();
  for await (const chunk of chunks) yield* lines.add(chunk);
  yield* lines.rest();
}

class Traceback {
  isOver = false;
  readonly #source: string;
  /** Launchers put one like `[rank1]: ` before each line. */
  #prefix: string;
  #lines = 0;

  static beginningIn(line: LogLine): Traceback | undefined {
    const text = textOf(line);
    const at = text.indexOf(TRACEBACK);
    // A progress bar may stand before it.
    return at === -1
      ? undefined
      : new Traceback(sourceOf(line), text.slice(text.lastIndexOf('\r', at) + 1, at));
  }

  private constructor(source: string, prefix: string) {
    this.#source = source;
    this.#prefix = prefix;
  }

  takes(line: LogLine): boolean {
    if (sourceOf(line) !== this.#source) return false;
    const text = textOf(line);
    if (this.#lines > 0 && !text.startsWith(this.#prefix)) {
      if (this.#lines > 1 || !/^\s/.test(text)) return false;
      // What stood in front of the first line alone was no prefix.
      this.#prefix = '';
    }
    this.#lines += 1;
    const content = text.slice(this.#prefix.length);
    const goesOn = this.#lines === 1 || /^(\s|$)/.test(content) || content.startsWith(TRACEBACK);
    this.isOver = !goesOn || this.#lines >= MAX_LINES;
    return true;
  }
}

const sourceOf = ({ chunk, entries }: LogLine): string =>
  `${chunk.resumption}/${chunk.rank}/${entries[0]?.stream}`;

const textOf = ({ entries }: LogLine): string => Buffer.concat(entries.map(({ bytes }) => bytes)).toString();
