/**
 * Reads a part of the log stream, one rank's log or all that a run has printed: each entry once and in order, whatever
 * becomes of the connection, the server and the stream.
 *
 * Messages are numbered by the stream, and a reader goes on behind the last that it has seen. Nothing is taken for granted
 * after a loss: the consumer at the server counts as delivered what was under way, and a stream that was restored from an
 * older state gives numbers out again. So each loss means a new consumer, and a look whether the last message is still
 * the same one. If it is not, all is read again, and entries that were passed on before are left out by their numbers.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { JetStreamApiCodes, JetStreamApiError, JetStreamError } from '@nats-io/jetstream';
import type { Consumer, JetStreamClient, JsMsg, MsgRequest, StoredMsg } from '@nats-io/jetstream';
import { errors } from '@nats-io/transport-node';
import type { MsgHdrs } from '@nats-io/transport-node';
import { decodeLogEntries, LOG_HEADERS } from '../core/log-entries.ts';
import type { LogEntry } from '../core/log-entries.ts';
import { LOG_STREAM, logSubjects, parseLogSubject } from '../core/naming.ts';
import type { RankRef } from '../core/naming.ts';
import type { Connections } from './connection.ts';
import { ServerUnreachable } from './errors.ts';

/** All resumptions, or all ranks, where none is named. */
export type LogPart = Pick<RankRef, 'run'> & Partial<RankRef>;

/** A part of a rank's log: entries in order, or the end of it. */
export interface LogChunk extends RankRef {
  readonly entries: readonly LogEntry[];
  /** True on the last chunk of a rank. */
  readonly end: boolean;
}

interface Limits {
  /** Aborted when nothing more is written: what is stored by then is the rest. */
  readonly ended: AbortSignal;
  /** Stops at once. */
  readonly signal: AbortSignal;
}

const RETRY_MS = 300;
/** How long a server is waited for that has no message, and how late the loss of a consumer is noticed. */
const EXPIRES_MS = 2_000;
/** Fewer are read sooner than their place is found. */
const FEWEST_SKIPPED = 10_000;
/** What a node writes in one message when it has much to write. */
const FULL_MESSAGE_BYTES = 256 * 1024;
/** Small messages become large ones without notice: a server hangs up on a client that is behind by 64 MiB. */
const MOST_MESSAGES = 128;

export class LogReader {
  readonly #connections: Connections;
  readonly #part: LogPart;
  readonly #bytesAhead: number;
  /** The last message that was looked at. */
  #seen: Seen | undefined;
  /** The connection over which it came; unknown after anything went wrong: it may have become another one since. */
  #link: AbortSignal | undefined;
  /** By subject, how many entries were passed on. */
  readonly #passed = new Map<string, number>();
  /** True behind the end marker of the log of one rank. */
  #isOver = false;

  /** @param bytesAhead about how much is asked for at once, which is one message at least */
  constructor(connections: Connections, part: LogPart, bytesAhead: number) {
    this.#connections = connections;
    this.#part = part;
    this.#bytesAhead = bytesAhead;
  }

  /**
   * Leaves out what stands further from the end than so many entries, of the last resumption: looks for the place by halves,
   * since every message tells where it stands. To be called first.
   * @returns false where it is not worth while
   */
  async skipTo(entriesFromEnd: number): Promise<boolean> {
    const link = this.#connections.natsLink;
    const client = await this.#connections.logs();
    const last = await lastMessage(client, this.#part);
    const skipped = last ? nextEntryOf(last.header) - entriesFromEnd : 0;
    if (!last || skipped < FEWEST_SKIPPED) return false;
    let [low, high] = [1, last.seq];
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const message = await storedMessage(client, { seq: middle, next_by_subj: last.subject } as MsgRequest);
      if (message && nextEntryOf(message.header) <= skipped) low = message.seq + 1;
      else high = middle;
    }
    // Another message than was seen, wherever that matters: then all is read.
    this.#seen = { seq: low - 1, timeMs: NaN };
    this.#link = link;
    return true;
  }

  /**
   * What comes next; a second call goes on where the first has ended. Waits for a server that is away, and for a stream
   * that no node has made yet. The log of one rank ends with its end marker.
   */
  async *chunks({ ended, signal }: Limits): AsyncGenerator<LogChunk> {
    for (let isDone = this.#isOver; !isDone && !signal.aborted;) {
      const hasEnded = ended.aborted;
      const until = hasEnded ? signal : AbortSignal.any([signal, ended]);
      try {
        isDone = yield* this.#stretch(hasEnded, until);
      } catch (error) {
        if (!isPassing(error)) throw error;
        this.#link = undefined;
        await sleep(RETRY_MS, undefined, { signal: until }).catch(() => undefined);
      }
    }
  }

  /** As far as one consumer goes. @returns true when there is nothing left to wait for */
  async *#stretch(hasEnded: boolean, until: AbortSignal): AsyncGenerator<LogChunk, boolean> {
    const link = this.#connections.natsLink;
    const stop = AbortSignal.any([until, link]);
    const opened = await unlessAborted(stop, this.#open(hasEnded, link));
    if (!opened) return false;
    const { seen, last, consumer } = opened;
    this.#seen = seen;
    this.#link = link;
    if (!consumer) return true;
    try {
      for await (const message of this.#messages(consumer, stop)) {
        if (until.aborted) break;
        const chunk = this.#take(message);
        if (chunk) yield chunk;
        this.#isOver = chunk?.end === true && this.#isOneLog;
        if (this.#isOver || message.seq >= last) return true;
      }
      return false;
    } finally {
      void consumer.delete().catch(() => undefined);
    }
  }

  /** Without a consumer, where nothing is left to read. */
  async #open(hasEnded: boolean, link: AbortSignal): Promise<Opened> {
    const client = await this.#connections.logs();
    const seen = link === this.#link ? this.#seen : await recognised(client, this.#seen);
    const last = hasEnded ? ((await lastMessage(client, this.#part))?.seq ?? 0) : Infinity;
    const start = (seen?.seq ?? 0) + 1;
    if (start > last) return { seen, last };
    const consumer = await client.consumers.get(LOG_STREAM, {
      filter_subjects: logSubjects(this.#part),
      opt_start_seq: start,
    });
    return { seen, last, consumer };
  }

  /**
   * Batch by batch, each of them in memory before its first message is passed on: so nothing is under way while whoever
   * reads has stopped to read.
   */
  async *#messages(consumer: Consumer, stop: AbortSignal): AsyncGenerator<JsMsg> {
    let most = this.#bytesAhead / FULL_MESSAGE_BYTES;
    let { num_pending: waiting } = await consumer.info(true);
    while (!stop.aborted) {
      // As many as are there, so that none is held back for one that is not; when none is there, the next one.
      const batch = await nextBatch(consumer, Math.max(1, Math.floor(Math.min(waiting, most))), stop);
      yield* batch;
      waiting = batch.at(-1)?.info.pending ?? 0;
      const bytes = batch.reduce((sum, { data }) => sum + data.length, 0);
      if (bytes > 0) most = Math.min((this.#bytesAhead * batch.length) / bytes, MOST_MESSAGES);
    }
  }

  /** Without what was passed on before. */
  #take({ seq, time, subject, headers, data }: JsMsg): LogChunk | undefined {
    this.#seen = { seq, timeMs: time.getTime() };
    const entries = decodeLogEntries(data);
    const first = firstEntryOf(headers);
    const passed = this.#passed.get(subject) ?? first;
    this.#passed.set(subject, Math.max(passed, first + entries.length));
    const fresh = entries.slice(Math.max(0, passed - first));
    const end = headers?.has(LOG_HEADERS.end) ?? false;
    return fresh.length > 0 || end ? { ...parseLogSubject(subject), entries: fresh, end } : undefined;
  }

  get #isOneLog(): boolean {
    return this.#part.resumption !== undefined && this.#part.rank !== undefined;
  }
}

interface Seen {
  readonly seq: number;
  readonly timeMs: number;
}

interface Opened {
  readonly seen: Seen | undefined;
  /** The number of the last message to be read. */
  readonly last: number;
  readonly consumer?: Consumer;
}

/** Nothing, where another message has its number now, or none: the stream has to be read from its beginning. */
async function recognised(client: JetStreamClient, seen: Seen | undefined): Promise<Seen | undefined> {
  if (!seen) return undefined;
  const message = await storedMessage(client, { seq: seen.seq });
  return message?.time.getTime() === seen.timeMs ? seen : undefined;
}

/** Requests that were made while the server was away are never answered: they are waited for only as long as `signal` lets. */
async function unlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T | undefined> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const stop = (): void => resolve(undefined);
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

function firstEntryOf(header: MsgHdrs | undefined): number {
  return Number(header?.get(LOG_HEADERS.firstEntry));
}

function nextEntryOf(header: MsgHdrs): number {
  return firstEntryOf(header) + Number(header.get(LOG_HEADERS.entries));
}

async function nextBatch(consumer: Consumer, count: number, stop: AbortSignal): Promise<JsMsg[]> {
  const messages = await consumer.fetch({ max_messages: count, expires: EXPIRES_MS });
  const onStop = (): void => messages.stop();
  stop.addEventListener('abort', onStop, { once: true });
  if (stop.aborted) onStop();
  try {
    const batch: JsMsg[] = [];
    for await (const message of messages) batch.push(message);
    return batch;
  } finally {
    stop.removeEventListener('abort', onStop);
  }
}

/** `undefined` where there is none. */
export async function lastMessage(client: JetStreamClient, part: LogPart): Promise<StoredMsg | undefined> {
  return await storedMessage(client, { last_by_subj: logSubjects(part) });
}

/** Also of a stream that is not there: no node has ever written a log. */
async function storedMessage(client: JetStreamClient, query: MsgRequest): Promise<StoredMsg | undefined> {
  const manager = await client.jetstreamManager(false);
  try {
    return (await manager.streams.getMessage(LOG_STREAM, query)) ?? undefined;
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound)
      return undefined;
    throw error;
  }
}

/** True of a server that is away, comes up, or has forgotten something; not of one that refuses. */
function isPassing(error: unknown): boolean {
  if (error instanceof JetStreamApiError) return error.status === NOT_FOUND || error.status >= SERVER_ERROR;
  if (PASSING.some((kind) => error instanceof kind)) return true;
  return error instanceof Error && isPassing(error.cause);
}

const NOT_FOUND = 404;
const SERVER_ERROR = 500;
const PASSING = [
  ServerUnreachable,
  errors.ConnectionError,
  errors.NoRespondersError,
  errors.TimeoutError,
  JetStreamError,
];
