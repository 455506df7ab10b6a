/**
 * The JetStream stream of all logs, as a node writes to it. A rank's log is one subject; every message carries the
 * number of its first entry, so whoever reads the last message knows how far the log has come.
 */
import type { JetStreamClient, JetStreamManager } from '@nats-io/jetstream';
import {
  JetStreamApiCodes,
  JetStreamApiError,
  jetstream,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
} from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { headers, nanos, RequestError } from '@nats-io/transport-node';
import type { LogEntry } from '../core/log-entries.ts';
import { encodeLogEntries, LOG_HEADERS, NEWLINE } from '../core/log-entries.ts';
import type { RankRef } from '../core/naming.ts';
import { HISTORY_DAYS, LOG_STREAM, LOG_SUBJECTS, logSubject } from '../core/naming.ts';

/** Where the log of a rank stands in the stream. */
export interface LogPosition {
  readonly nextEntry: number;
  /** Stream sequence of the subject's last message; 0 when there is none. */
  readonly sequence: number;
  /** True when the end marker is there: nothing may follow. */
  readonly ended: boolean;
  /** True when the log reached its limit: only the end may follow. */
  readonly full: boolean;
  /** True when the last entry has no newline. */
  readonly lineIsOpen: boolean;
  /** Time of the log's first entry in ns, once that is known. */
  readonly startNs?: bigint;
}

const NOTHING_YET: LogPosition = {
  nextEntry: 0,
  sequence: 0,
  ended: false,
  full: false,
  lineIsOpen: false,
};

/** What is appended in one message; the position says where it stands. */
export interface LogAddition {
  readonly entries: readonly LogEntry[];
  readonly full?: boolean;
  /** Ends the log. */
  readonly endReason?: string;
}

export interface LogStream {
  position(ref: RankRef): Promise<LogPosition>;
  /**
   * Appends if the log still stands at `position`.
   * @returns the new position, or undefined when someone else has written meanwhile.
   */
  append(ref: RankRef, position: LogPosition, addition: LogAddition): Promise<LogPosition | undefined>;
}

/** The largest message: a batch may exceed its aim by one entry, and NATS takes 1 MiB by default. */
const MAX_MESSAGE_BYTES = 512 * 1024;
/** After this the position is asked for and the batch is tried again: it may or may not have arrived. */
const PUBLISH_TIMEOUT_MS = 3000;
const DUPLICATE_WINDOW_MS = 1000;
const HISTORY_MS = HISTORY_DAYS * 24 * 60 * 60 * 1000;

/** Creates the stream where it is missing; one that an operator made with other limits or replicas stays as it is. */
async function ensureLogStream(manager: JetStreamManager): Promise<void> {
  try {
    await manager.streams.info(LOG_STREAM);
  } catch (error) {
    if (!isApiError(error, JetStreamApiCodes.StreamNotFound)) throw error;
    await manager.streams.add({
      name: LOG_STREAM,
      subjects: [LOG_SUBJECTS],
      retention: RetentionPolicy.Limits,
      storage: StorageType.File,
      max_age: nanos(HISTORY_MS),
      max_msg_size: MAX_MESSAGE_BYTES,
      // Positions de-duplicate, not message ids: the window that remembers ids may be small.
      duplicate_window: nanos(DUPLICATE_WINDOW_MS),
      allow_direct: true,
    });
  }
}

/** @param connected resolves when NATS was reached for the first time; calls wait for it. */
export function createLogStream(connected: Promise<NatsConnection>): LogStream {
  // Made once: the manager asks the server about the account when it is made.
  let opened: Promise<Opened> | undefined;

  return {
    position: (ref) =>
      withStream(async ({ manager }) => {
        // From the leader of the stream, not directly from any replica: a stale answer would cost a second round.
        const last = await manager.streams.getMessage(LOG_STREAM, { last_by_subj: logSubject(ref) });
        if (last === null) return NOTHING_YET;
        const count = (name: string): number => Number(last.header.get(name) || 0);
        const start = last.header.get(LOG_HEADERS.start);
        return {
          nextEntry: count(LOG_HEADERS.firstEntry) + count(LOG_HEADERS.entries),
          sequence: last.seq,
          ended: last.header.has(LOG_HEADERS.end),
          full: last.header.has(LOG_HEADERS.full),
          lineIsOpen: ![undefined, NEWLINE].includes(last.data.at(-1)),
          ...(start !== '' && { startNs: BigInt(start) }),
        };
      }),

    append: (ref, position, { entries, full = position.full, endReason }) =>
      withStream(async ({ client }) => {
        const { startNs } = position;
        const header = headers();
        header.set(LOG_HEADERS.firstEntry, String(position.nextEntry));
        header.set(LOG_HEADERS.entries, String(entries.length));
        if (startNs !== undefined) header.set(LOG_HEADERS.start, String(startNs));
        if (full) header.set(LOG_HEADERS.full, 'true');
        if (endReason !== undefined) header.set(LOG_HEADERS.end, endReason);
        try {
          const stored = await client.publish(logSubject(ref), encodeLogEntries(entries), {
            headers: header,
            timeout: PUBLISH_TIMEOUT_MS,
            expect: { streamName: LOG_STREAM, lastSubjectSequence: position.sequence },
          });
          return {
            nextEntry: position.nextEntry + entries.length,
            sequence: stored.seq,
            ended: endReason !== undefined,
            full,
            lineIsOpen: entries.length === 0 ? position.lineIsOpen : entries.at(-1)?.bytes.at(-1) !== NEWLINE,
            ...(startNs !== undefined && { startNs }),
          };
        } catch (error) {
          if (isApiError(error, JetStreamApiCodes.StreamWrongLastSequence)) return undefined;
          throw error;
        }
      }),
  };

  /** A stream that is missing is made again with the next step: somebody has deleted it, or the disk is a new one. */
  async function withStream<T>(step: (opened: Opened) => Promise<T>): Promise<T> {
    try {
      return await step(await open());
    } catch (error) {
      if (isMissing(error)) opened = undefined;
      throw error;
    }
  }

  async function open(): Promise<Opened> {
    opened ??= connected.then(async (connection) => {
      const manager = await jetstreamManager(connection);
      await ensureLogStream(manager);
      return { client: jetstream(connection), manager };
    });
    try {
      return await opened;
    } catch (error) {
      opened = undefined;
      throw error;
    }
  }
}

interface Opened {
  readonly client: JetStreamClient;
  readonly manager: JetStreamManager;
}

/** Nobody answers to the subjects of a stream that is not there. */
function isMissing(error: unknown): boolean {
  const { cause } = error as Error;
  const isUnheard = cause instanceof RequestError && cause.isNoResponders();
  return isUnheard || isApiError(error, JetStreamApiCodes.StreamNotFound);
}

function isApiError(error: unknown, code: number): boolean {
  return error instanceof JetStreamApiError && error.code === code;
}
