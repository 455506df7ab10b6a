/** Logs of runs out of JetStream: what is there, then what comes. */
import { setTimeout as sleep } from 'node:timers/promises';
import { LOG_HEADERS } from '../core/log-entries.ts';
import type { Connections } from './connection.ts';
import { lastLines } from './last-lines.ts';
import { lastMessage, LogReader } from './log-reader.ts';
import type { LogChunk } from './log-reader.ts';
import { readTail } from './log-tail.ts';
import { mergeByTime } from './merge-by-time.ts';
import type { MergeLimits } from './merge-by-time.ts';

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

export interface FollowOptions {
  /** Resolves when the run has ended: what is stored by then is the rest. */
  readonly ended: Promise<unknown>;
  /** Stops at once. */
  readonly signal: AbortSignal;
}

export class Logs {
  private readonly connections: Connections;

  constructor(connections: Connections) {
    this.connections = connections;
  }

  /**
   * What is there now, and then the end.
   * @throws ServerUnreachable when NATS is not reached in the first place; later it is waited for
   */
  async *read(selection: LogSelection): AsyncGenerator<LogChunk> {
    const stop = new AbortController();
    try {
      yield* this.stored(selection, stop.signal);
    } finally {
      stop.abort();
    }
  }

  /**
   * What is there, and all that comes, until the run has ended; of one resumption, until its end is in the log.
   * @throws ServerUnreachable when NATS is not reached in the first place; later it is waited for
   */
  async *follow(selection: LogSelection, { ended, signal }: FollowOptions): AsyncGenerator<LogChunk> {
    const stop = new AbortController();
    const stopped = AbortSignal.any([signal, stop.signal]);
    try {
      const readers = yield* this.stored(selection, stopped);
      const limits = { ended: signalOf(ended), signal: stopped, patienceMs: PATIENCE_MS };
      yield* byTime(
        readers.map((reader) => reader.chunks(limits)),
        limits,
      );
    } finally {
      stop.abort();
    }
  }

  /** Resolves when the log of every rank of a resumption has its end; with the signal, since that of a lost node never has. */
  async untilEnded(
    { run, resumption, ranks }: Pick<LogSelection, 'run' | 'ranks'> & { readonly resumption: number },
    signal: AbortSignal,
  ): Promise<void> {
    const client = await this.connections.logs();
    for (let rank = 0; rank < ranks && !signal.aborted;) {
      const message = await lastMessage(client, { run, resumption, rank });
      if (message?.header.has(LOG_HEADERS.end)) rank += 1;
      else await sleep(POLL_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  /** What is there. @returns the readers, which go on from there */
  private async *stored(
    selection: LogSelection,
    signal: AbortSignal,
  ): AsyncGenerator<LogChunk, readonly LogReader[]> {
    await this.connections.logs();
    const ranks = ranksOf(selection);
    const { tail } = selection;
    const limits = { ended: AbortSignal.abort(), signal, patienceMs: Infinity };
    if (tail === undefined) {
      const readers = ranks.map((rank) => this.reader(selection, rank));
      yield* byTime(
        readers.map((reader) => reader.chunks(limits)),
        limits,
      );
      return readers;
    }
    const tails = await Promise.all(
      ranks.map((rank) => readTail(() => this.reader(selection, rank), tail, signal)),
    );
    const lines = byTime(
      tails.map((one) => generated(one.lines)),
      limits,
    );
    yield* lastLines(lines, tail);
    return tails.map(({ reader }) => reader);
  }

  private reader(selection: LogSelection, rank: number): LogReader {
    const { run, resumption } = selection;
    const part = { run, rank, ...(resumption !== undefined && { resumption }) };
    return new LogReader(this.connections, part, BYTES_AHEAD / ranksOf(selection).length);
  }
}

const POLL_MS = 500;
/** How long the lines of one rank wait for those of another that may be older. */
const PATIENCE_MS = 200;
/** Enough to keep the pipe full; a slow one has them through before the server gives up on the reader after 10 s. */
const BYTES_AHEAD = 4 * 1024 * 1024;

function ranksOf({ rank, ranks }: LogSelection): readonly number[] {
  return rank === undefined ? Array.from({ length: ranks }, (_, index) => index) : [rank];
}

function byTime(parts: readonly AsyncGenerator<LogChunk>[], limits: MergeLimits): AsyncGenerator<LogChunk> {
  const [only] = parts;
  return only && parts.length === 1 ? only : mergeByTime(parts, limits);
}

async function* generated(chunks: readonly LogChunk[]): AsyncGenerator<LogChunk> {
  yield* chunks;
}

function signalOf(event: Promise<unknown>): AbortSignal {
  const controller = new AbortController();
  void event.finally(() => controller.abort()).catch(() => undefined);
  return controller.signal;
}
