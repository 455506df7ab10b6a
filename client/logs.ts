/** Logs of runs out of JetStream: replay, then follow, in one ordered read. */
import { setTimeout as sleep } from 'node:timers/promises';
import { DeliverPolicy, JetStreamApiCodes, JetStreamApiError } from '@nats-io/jetstream';
import type { Consumer, JsMsg } from '@nats-io/jetstream';
import { decodeLogEntries, LOG_HEADERS } from '../core/log-entries.ts';
import type { LogEntry } from '../core/log-entries.ts';
import { LOG_STREAM, parseLogSubject } from '../core/naming.ts';
import type { RankRef } from '../core/naming.ts';
import type { Connections } from './connection.ts';

export interface LogSelection {
  readonly run: string;
  /** All resumptions when absent. */
  readonly resumption?: number;
  /** All ranks when absent. */
  readonly rank?: number;
}

/** One message of a rank's log: entries in order, or the end of it. */
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
    const consumer = await this.consumer(selection);
    let left = consumer ? (await consumer.info(true)).num_pending : 0;
    if (!consumer || left === 0) return;
    const messages = await consumer.consume(CONSUME);
    for await (const message of messages) {
      yield chunkOf(message);
      left -= 1;
      if (left <= 0) return;
    }
  }

  /**
   * What is there, and all that comes, until `signal` is aborted. Survives restarts of the server: the ordered consumer
   * goes on behind the last message that it delivered.
   */
  async *follow(selection: LogSelection, signal: AbortSignal): AsyncGenerator<LogChunk> {
    let consumer = await this.consumer(selection);
    while (!consumer) {
      if (signal.aborted) return;
      await sleep(NO_STREAM_POLL_MS);
      consumer = await this.consumer(selection);
    }
    const messages = await consumer.consume(CONSUME);
    const stop = (): void => messages.stop();
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    for await (const message of messages) yield chunkOf(message);
  }

  /** How many messages of a selection are stored now. */
  async stored(selection: LogSelection): Promise<number> {
    const consumer = await this.consumer(selection);
    return consumer ? (await consumer.info(true)).num_pending : 0;
  }

  /** `undefined` where no node has ever written a log: the first one makes the stream. */
  private async consumer({ run, resumption, rank }: LogSelection): Promise<Consumer | undefined> {
    const jetstream = await this.connections.logs();
    try {
      return await jetstream.consumers.get(LOG_STREAM, {
        filter_subjects: `logs.${run}.${resumption ?? '*'}.${rank ?? '*'}`,
        deliver_policy: DeliverPolicy.All,
      });
    } catch (error) {
      if (error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound)
        return undefined;
      throw error;
    }
  }
}

const NO_STREAM_POLL_MS = 200;
const CONSUME = {
  /** Messages are up to 256 KiB: enough ahead to keep the pipe full, little enough to stay small. */
  max_messages: 64,
  /** Also how long the consumer waits before it looks again for a server that was restarted. */
  expires: 2_000,
};

function chunkOf(message: JsMsg): LogChunk {
  return {
    ...parseLogSubject(message.subject),
    entries: decodeLogEntries(message.data),
    end: message.headers?.has(LOG_HEADERS.end) ?? false,
  };
}
