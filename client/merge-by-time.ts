/** Logs of several ranks as one, line by line in the order of their times. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { LogChunk } from './log-reader.ts';

/** Of all sources together: what comes while it waits for others, and then some. */
const HELD_BYTES = 8 * 1024 * 1024;
/** Beside its entries; so small ones are limited as well. */
const CHUNK_BYTES = 4_096;

export interface MergeLimits {
  /** How long what came waits for sources that are silent; with Infinity, until they speak or end. */
  readonly patienceMs: number;
  /** Ends the sources, too: what is held here is given up. */
  readonly signal: AbortSignal;
}

/** Each source is in order by itself. */
export async function* mergeByTime(
  sources: readonly AsyncGenerator<LogChunk>[],
  { patienceMs, signal }: MergeLimits,
): AsyncGenerator<LogChunk> {
  const bell = new Bell();
  const queues = sources.map((source) => new Queue(source, HELD_BYTES / sources.length, bell));
  try {
    while (!signal.aborted) {
      const failed = queues.find(({ failure }) => failure !== undefined);
      if (failed) throw failed.failure;
      const ready = queues.filter(isReady).sort((a, b) => compare(timeOf(a.head), timeOf(b.head)));
      const [first, second] = ready;
      if (queues.some((queue) => queue.isOpen && !isReady(queue))) {
        // Of any of them: where one has waited long enough, those that are older than it have, too.
        const sinceMs = Math.min(...ready.map(({ head }) => head.cameMs));
        const waitMs = sinceMs + patienceMs - performance.now();
        if (first === undefined || waitMs > 0) {
          await bell.rings(waitMs);
          continue;
        }
      }
      if (first === undefined) return;
      yield first.take(second && timeOf(second.head));
    }
  } finally {
    for (const queue of queues) queue.close();
  }
}

/** What a source has brought that is not passed on yet; it is filled also while others are waited for. */
class Queue {
  /** False when nothing more comes. */
  isOpen = true;
  failure: unknown;
  readonly #arrived: Arrived[] = [];
  #bytes = 0;
  readonly #room = new Bell();

  constructor(source: AsyncGenerator<LogChunk>, limitBytes: number, bell: Bell) {
    void this.#fill(source, limitBytes, bell);
  }

  get head(): Arrived | undefined {
    return this.#arrived[0];
  }

  /** The entries up to a time; the end of a rank goes with its last. */
  take(untilNs: bigint | undefined): LogChunk {
    const head = this.head as Arrived;
    const { chunk, at } = head;
    let end = at + 1;
    while (end < chunk.entries.length && !isLater(chunk.entries[end], untilNs)) end += 1;
    head.at = end;
    const isWhole = end >= chunk.entries.length;
    if (isWhole) {
      this.#arrived.shift();
      this.#bytes -= sizeOf(chunk);
      this.#room.ring();
    }
    return { ...chunk, entries: chunk.entries.slice(at, end), end: chunk.end && isWhole };
  }

  close(): void {
    this.isOpen = false;
    this.#room.ring();
  }

  async #fill(source: AsyncGenerator<LogChunk>, limitBytes: number, bell: Bell): Promise<void> {
    try {
      for await (const chunk of source) {
        this.#arrived.push({ chunk, cameMs: performance.now(), at: 0 });
        this.#bytes += sizeOf(chunk);
        bell.ring();
        while (this.isOpen && this.#bytes >= limitBytes) await this.#room.rings();
        if (!this.isOpen) break;
      }
    } catch (error) {
      this.failure = error;
    }
    this.isOpen = false;
    bell.ring();
  }
}

interface Arrived {
  readonly chunk: LogChunk;
  readonly cameMs: number;
  /** The first entry that is not passed on. */
  at: number;
}

function isReady(queue: Queue): queue is Queue & { readonly head: Arrived } {
  return queue.head !== undefined;
}

/** An end without entries needs no place among the others. */
function timeOf({ chunk, at }: Arrived): bigint {
  return chunk.entries[at]?.timeNs ?? 0n;
}

function isLater(entry: LogChunk['entries'][number] | undefined, untilNs: bigint | undefined): boolean {
  return entry !== undefined && untilNs !== undefined && entry.timeNs > untilNs;
}

function sizeOf({ entries }: LogChunk): number {
  return entries.reduce((sum, { bytes }) => sum + bytes.length, CHUNK_BYTES);
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : Number(a > b);
}

/** Wakes the one who waits. A race of the sources' promises would collect waiters at one that is silent. */
class Bell {
  #ringing = Promise.withResolvers<void>();

  ring(): void {
    this.#ringing.resolve();
  }

  async rings(withinMs = Infinity): Promise<void> {
    const awake = new AbortController();
    void this.#ringing.promise.then(() => awake.abort());
    if (Number.isFinite(withinMs))
      await sleep(withinMs, undefined, { signal: awake.signal }).catch(() => undefined);
    else await this.#ringing.promise;
    if (awake.signal.aborted) this.#ringing = Promise.withResolvers();
  }
}
