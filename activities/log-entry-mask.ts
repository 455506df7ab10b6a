/**
 * Masks secrets in the entries of one container's log. Each entry becomes one entry, so that numbers stay; what comes
 * out depends on the log alone, from its first entry on, and not on how it arrived: an agent that reads the log again
 * goes on where another has stopped.
 */
import type { LogEntry } from '../core/log-entries.ts';
import { union } from '../core/needle-search.ts';
import type { Span } from '../core/needle-search.ts';
import type { SecretMask } from '../core/secret-mask.ts';
import { replaceSpans } from '../core/secret-mask.ts';
import { endsLine } from './docker-log-frames.ts';

/** The end of a line that goes on: the next piece may complete a value. */
interface Held {
  readonly bytes: Buffer;
  /** So many of its bytes belong to a value whose beginning, and stars, have been passed on. */
  readonly masked: number;
}

const NOTHING: Held = { bytes: Buffer.alloc(0), masked: 0 };

export class LogEntryMask {
  readonly #mask: SecretMask;
  /** For each stream on its own. */
  readonly #held = { stdout: NOTHING, stderr: NOTHING };

  constructor(mask: SecretMask) {
    this.#mask = mask;
  }

  /** The entry that takes this one's place; its last bytes may move into the next one of its stream. */
  push(entry: LogEntry): LogEntry {
    const held = this.#held[entry.stream];
    const bytes = held.bytes.length === 0 ? asBuffer(entry.bytes) : Buffer.concat([held.bytes, entry.bytes]);
    const spans = this.#find({ bytes, masked: held.masked });
    if (endsLine(entry.bytes)) {
      this.#held[entry.stream] = NOTHING;
      return bytes === entry.bytes && spans.length === 0
        ? entry
        : { ...entry, bytes: replaceSpans(bytes, spans, held.masked > 0) };
    }
    // A value that begins before this ends within these bytes, so that what was found there is final.
    const undecided = Math.max(0, bytes.length - Math.max(0, this.#mask.longestBytes - 1));
    const final = spans.filter(({ start }) => start < undecided);
    // A copy: the buffer it is a part of is large, and would be kept with it.
    const rest = Buffer.from(bytes.subarray(undecided));
    const masked = undecided === 0 ? held.masked : Math.max(0, (final.at(-1)?.end ?? 0) - undecided);
    this.#held[entry.stream] = { bytes: rest, masked };
    const clipped = final.map(({ start, end }) => ({ start, end: Math.min(end, undecided) }));
    return { ...entry, bytes: replaceSpans(bytes.subarray(0, undecided), clipped, held.masked > 0) };
  }

  /** What is still held back when the log has ended, as entries behind the last. */
  flush(timeNs: bigint): LogEntry[] {
    return (['stdout', 'stderr'] as const)
      .filter((stream) => this.#held[stream].bytes.length > 0)
      .map((stream) => {
        const held = this.#held[stream];
        this.#held[stream] = NOTHING;
        return { stream, timeNs, bytes: replaceSpans(held.bytes, this.#find(held), held.masked > 0) };
      });
  }

  #find({ bytes, masked }: Held): readonly Span[] {
    const found = this.#mask.find(bytes);
    return masked === 0 ? found : union([{ start: 0, end: masked }], found);
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
