/** Logs of several ranks as one, line by line in the order of their times. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { LogChunk } from './log-reader.ts';

/**
 * Each source is in order by itself. One that is silent holds the others up for `patienceMs` at most; with Infinity,
 * until it speaks or ends. Of each source one chunk is held here, whatever it has in store.
 */
export async function* mergeByTime(
  sources: readonly AsyncGenerator<LogChunk>[],
  patienceMs: number,
): AsyncGenerator<LogChunk> {
  const bell = new Bell();
  const heads = sources.map((source): Head => ({ source, at: 0, sinceMs: 0, awaited: false }));
  for (const head of heads) void fetchNext(head, bell);
  try {
    for (;;) {
      const failed = heads.find(({ failure }) => failure !== undefined);
      if (failed) throw failed.failure;
      const [first, second] = heads.filter(isReady).sort((a, b) => compare(timeOf(a), timeOf(b)));
      if (heads.some(({ awaited }) => awaited)) {
        const waitMs =
          patienceMs - Math.max(0, ...heads.filter(isReady).map(({ sinceMs }) => Date.now() - sinceMs));
        if (first === undefined || waitMs > 0) {
          await bell.rings(first === undefined ? Infinity : waitMs);
          continue;
        }
      }
      if (first === undefined) return;
      yield take(first, second);
      if (!isReady(first)) void fetchNext(first, bell);
    }
  } finally {
    for (const { source } of heads) void source.return(undefined).catch(() => undefined);
  }
}

/** A source, and what it has brought that is not passed on yet. */
interface Head {
  readonly source: AsyncGenerator<LogChunk>;
  chunk?: LogChunk;
  /** The first entry of the chunk that is not passed on. */
  at: number;
  /** When the chunk came. */
  sinceMs: number;
  /** True while the source is asked for the next chunk. */
  awaited: boolean;
  failure?: unknown;
}

type ReadyHead = Head & { chunk: LogChunk };

function isReady(head: Head): head is ReadyHead {
  return head.chunk !== undefined;
}

async function fetchNext(head: Head, bell: Bell): Promise<void> {
  head.awaited = true;
  try {
    const { done, value } = await head.source.next();
    if (!done) Object.assign(head, { chunk: value, at: 0, sinceMs: Date.now() });
  } catch (error) {
    head.failure = error;
  }
  head.awaited = false;
  bell.ring();
}

/** The entries up to the time of the next rank; the end of a rank goes with its last. */
function take(head: ReadyHead, next: ReadyHead | undefined): LogChunk {
  const { chunk, at } = head;
  const limit = next && timeOf(next);
  const isLater = ({ timeNs }: { readonly timeNs: bigint }): boolean => limit !== undefined && timeNs > limit;
  let end = at + 1;
  for (let entry = chunk.entries[end]; entry !== undefined && !isLater(entry); entry = chunk.entries[end])
    end += 1;
  const isWhole = end >= chunk.entries.length;
  if (isWhole) delete (head as Head).chunk;
  head.at = end;
  return { ...chunk, entries: chunk.entries.slice(at, end), end: chunk.end && isWhole };
}

/** An end without entries needs no place among the others. */
function timeOf({ chunk, at }: ReadyHead): bigint {
  return chunk.entries[at]?.timeNs ?? 0n;
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : Number(a > b);
}

/** Wakes whoever waits for any of the sources. A race of their promises would collect waiters at one that is silent. */
class Bell {
  #ringing = Promise.withResolvers<void>();

  ring(): void {
    this.#ringing.resolve();
  }

  async rings(withinMs: number): Promise<void> {
    const awake = new AbortController();
    void this.#ringing.promise.then(() => awake.abort());
    if (Number.isFinite(withinMs))
      await sleep(withinMs, undefined, { signal: awake.signal }).catch(() => undefined);
    else await this.#ringing.promise;
    if (awake.signal.aborted) this.#ringing = Promise.withResolvers();
  }
}
