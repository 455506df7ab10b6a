/**
 * Logs of runs out of JetStream: what is there, then what comes. Messages are numbered by the stream, so a reader that
 * lost its connection goes on behind the last one that it saw.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { JetStreamApiCodes, JetStreamApiError } from '@nats-io/jetstream';
import type { Consumer, JsMsg } from '@nats-io/jetstream';
import { decodeLogEntries, LOG_HEADERS } from '../core/log-entries.ts';
import type { LogEntry } from '../core/log-entries.ts';
import { LOG_STREAM, logSubject, parseLogSubject } from '../core/naming.ts';
import type { RankRef } from '../core/naming.ts';
import type { Connections } from './connection.ts';
import { lastLines } from './last-lines.ts';
import { mergeByTime } from './merge-by-time.ts';

export interface LogSelection {
  readonly run: string;
  /** All resumptions when absent. */
  readonly resumption?: number;
  /** How many ranks the run has: their lines come in the order of their times. */
  readonly ranks: number;
  /** This one alone. */
  readonly rank?: number;
  /** Of what is stored, only the last lines. */
  readonly tail?: number;
}

type FailedSelection = Pick<LogSelection, 'run' | 'ranks'> & { readonly resumption: number };

export interface FollowOptions {
  /** Resolves when the run has ended: what is stored by then is the rest. */
  readonly ended: Promise<unknown>;
  /** Stops at once. */
  readonly signal: AbortSignal;
}

/** A part of a rank's log: entries in order, or the end of it. */
export interface LogChunk extends RankRef {
  readonly entries: readonly LogEntry[];
  /** True on the last chunk of a rank. */
  readonly end: boolean;
}

export class Logs {
  private readonly connections: Connections;

  constructor(connections: Connections) {
    this.connections = connections;
  }

  /** What is there now, and then the end. */
  async *read(selection: LogSelection): AsyncGenerator<LogChunk> {
    yield* this.stored(selection, await this.lastSequence(selection));
  }

  /**
   * What is there, and all that comes, until the run has ended. Servers that go away are waited for.
   * @throws ServerUnreachable when NATS is not reached in the first place
   */
  async *follow(selection: LogSelection, { ended, signal }: FollowOptions): AsyncGenerator<LogChunk> {
    const after = await this.lastSequence(selection);
    yield* this.stored(selection, after, signal);
    yield* merged(selection, PATIENCE_MS, (part) => {
      const last = ended.then(() => patiently(() => this.lastSequence(part), signal));
      return this.messages(part, { after, last, signal });
    });
  }

  /** Which rank of a resumption ended first with an exit code other than 0; `undefined` where none did. */
  async firstFailedRank({ run, resumption, ranks }: FailedSelection): Promise<number | undefined> {
    const manager = await (await this.connections.logs()).jetstreamManager(false);
    const ends = await Promise.all(
      Array.from({ length: ranks }, async (_, rank) => {
        const last_by_subj = logSubject({ run, resumption, rank });
        const message = await manager.streams.getMessage(LOG_STREAM, { last_by_subj });
        const failed = /^exit [^0]/.test(message?.header.get(LOG_HEADERS.end) ?? '');
        return failed && message ? { rank, at: message.seq } : undefined;
      }),
    );
    return ends.filter((end) => end !== undefined).sort((a, b) => a.at - b.at)[0]?.rank;
  }

  private stored(selection: LogSelection, upTo: number, signal?: AbortSignal): AsyncGenerator<LogChunk> {
    const chunks = merged(selection, Infinity, (part) => this.storedPart(part, upTo, signal));
    return selection.tail === undefined ? chunks : lastLines(chunks, selection.tail);
  }

  private async *storedPart(
    part: LogSelection,
    upTo: number,
    signal?: AbortSignal,
  ): AsyncGenerator<LogChunk> {
    const last = await patiently(() => this.lastSequence(part), signal);
    if (!last) return;
    yield* this.messages(part, { after: 0, last: Promise.resolve(Math.min(last, upTo)), signal });
  }

  /** The messages behind `after`, up to the last one, whose number may be known later. */
  private async *messages(part: LogSelection, { after, last, signal }: Stretch): AsyncGenerator<LogChunk> {
    const consumer = await patiently(() => this.consumer(part, after), signal);
    if (!consumer) return;
    const messages = await consumer.consume({
      ...CONSUME,
      max_messages: Math.ceil(MESSAGES_AHEAD / part.ranks),
    });
    const stop = (): void => messages.stop();
    let seen = after;
    let end = Infinity;
    const stopBehindLast = async (): Promise<void> => {
      end = (await last) ?? 0;
      if (seen >= end) stop();
    };
    void stopBehindLast();
    signal?.addEventListener('abort', stop, { once: true });
    if (signal?.aborted) stop();
    try {
      for await (const message of messages) {
        if (message.seq <= end) yield chunkOf(message);
        seen = message.seq;
        if (seen >= end) return;
      }
    } finally {
      signal?.removeEventListener('abort', stop);
      stop();
      void consumer.delete().catch(() => undefined);
    }
  }

  /** The number of the last message that is stored; 0 where there is none, or no node has ever written a log. */
  private async lastSequence(selection: LogSelection): Promise<number> {
    const manager = await (await this.connections.logs()).jetstreamManager(false);
    try {
      const last_by_subj = subjects(selection);
      return (await manager.streams.getMessage(LOG_STREAM, { last_by_subj }))?.seq ?? 0;
    } catch (error) {
      if (isMissingStream(error)) return 0;
      throw error;
    }
  }

  /** Its own place in the stream is kept by the consumer, which is made again when the server has forgotten it. */
  private async consumer(part: LogSelection, after: number): Promise<Consumer> {
    const client = await this.connections.logs();
    return await client.consumers.get(LOG_STREAM, {
      filter_subjects: subjects(part),
      opt_start_seq: after + 1,
    });
  }
}

interface Stretch {
  readonly after: number;
  readonly last: Promise<number | undefined>;
  readonly signal?: AbortSignal | undefined;
}

/** How long the lines of one rank wait for those of another that may be older. */
const PATIENCE_MS = 200;
const RETRY_MS = 300;
/** Messages are up to 256 KiB: enough ahead to keep the pipe full, little enough to stay small. */
const MESSAGES_AHEAD = 64;
const CONSUME = {
  /** Also how long the consumer waits before it looks again for a server that was restarted. */
  expires: 2_000,
};

function merged(
  selection: LogSelection,
  patienceMs: number,
  partOf: (part: LogSelection) => AsyncGenerator<LogChunk>,
): AsyncGenerator<LogChunk> {
  if (selection.ranks === 1 || selection.rank !== undefined) return partOf({ ...selection, ranks: 1 });
  const parts = Array.from({ length: selection.ranks }, (_, rank) => partOf({ ...selection, rank }));
  return mergeByTime(parts, patienceMs);
}

function subjects({ run, resumption, rank }: LogSelection): string {
  return `logs.${run}.${resumption ?? '*'}.${rank ?? '*'}`;
}

function chunkOf(message: JsMsg): LogChunk {
  return {
    ...parseLogSubject(message.subject),
    entries: decodeLogEntries(message.data),
    end: message.headers?.has(LOG_HEADERS.end) ?? false,
  };
}

/** Tries until it works: the server is away, or no node has written a log yet. `undefined` when given up. */
async function patiently<T>(step: () => Promise<T>, signal?: AbortSignal): Promise<T | undefined> {
  for (;;) {
    if (signal?.aborted) return undefined;
    try {
      return await step();
    } catch {
      await sleep(RETRY_MS, undefined, { signal }).catch(() => undefined);
    }
  }
}

function isMissingStream(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound;
}
