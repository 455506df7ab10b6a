/**
 * Masks secrets in the entries of one container's log. Each entry becomes one entry, so that numbers stay; what comes
 * out depends on the log alone, from its first entry on, and not on how it arrived: an agent that reads the log again
 * goes on where another has stopped.
 */
import type { LogEntry } from '../core/log-entries.ts';
import type { SecretMask } from '../core/secret-mask.ts';
import { replaceSpans } from '../core/secret-mask.ts';
import { endsLine } from './docker-log-frames.ts';

const NOTHING = Buffer.alloc(0);

export class LogEntryMask {
  readonly #mask: SecretMask;
  /** The end of a line that goes on, for each stream on its own: the next piece may complete a value. */
  readonly #held = { stdout: NOTHING, stderr: NOTHING };

  constructor(mask: SecretMask) {
    this.#mask = mask;
  }

  /** The entry that takes this one's place; its last bytes may move into the next one of its stream. */
  push(entry: LogEntry): LogEntry {
    const { stream } = entry;
    const held = this.#held[stream];
    const bytes = held.length === 0 ? asBuffer(entry.bytes) : Buffer.concat([held, entry.bytes]);
    const spans = this.#mask.find(bytes);
    if (endsLine(entry.bytes)) {
      this.#held[stream] = NOTHING;
      return bytes === entry.bytes && spans.length === 0
        ? entry
        : { ...entry, bytes: replaceSpans(bytes, spans) };
    }
    // A value that begins before this ends within these bytes, so that what was found there is final.
    const undecided = bytes.length - Math.max(0, this.#mask.longestBytes - 1);
    const final = spans.filter(({ start }) => start < undecided);
    const end = Math.max(undecided, final.at(-1)?.end ?? 0);
    // A copy: the buffer it is a part of is large, and would be kept with it.
    this.#held[stream] = Buffer.from(bytes.subarray(end));
    return { ...entry, bytes: replaceSpans(bytes.subarray(0, end), final) };
  }

  /** What is still held back when the log has ended, as entries behind the last. */
  flush(timeNs: bigint): LogEntry[] {
    return (['stdout', 'stderr'] as const)
      .filter((stream) => this.#held[stream].length > 0)
      .map((stream) => {
        const bytes = this.#held[stream];
        this.#held[stream] = NOTHING;
        return { stream, timeNs, bytes: replaceSpans(bytes, this.#mask.find(bytes)) };
      });
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
