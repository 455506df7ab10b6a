/** Logs for tests: written as a node writes them, and read as people read them. */
import type { NatsConnection } from '@nats-io/transport-node';
import { createLogStream } from '../../activities/log-stream.ts';
import { Connections } from '../../client/connection.ts';
import type { LogChunk } from '../../client/log-reader.ts';
import { Logs } from '../../client/logs.ts';
import type { LogSelection } from '../../client/logs.ts';
import type { LogEntry } from '../../core/log-entries.ts';
import type { RankRef } from '../../core/naming.ts';
import { eventually } from './docker.ts';

let runs = 0;
export const aRun = (): string => `run-${(runs += 1)}`;
export const refOf = (run: string, rank = 0, resumption = 0): RankRef => ({ run, resumption, rank });

export function line(text: string, timeMs = 0, stream: LogEntry['stream'] = 'stdout'): LogEntry {
  return { stream, timeNs: BigInt(timeMs) * 1_000_000n, bytes: Buffer.from(`${text}\n`) };
}

/** As a node does it: until it is stored, and never twice. */
export async function writeLog(
  connection: NatsConnection,
  ref: RankRef,
  entries: readonly LogEntry[],
  endReason?: string,
): Promise<void> {
  const stream = createLogStream(Promise.resolve(connection));
  const addition = { entries, ...(endReason !== undefined && { endReason }) };
  const before = await untilItWorks(() => stream.position(ref));
  for (let at = before; at.nextEntry === before.nextEntry && at.ended === before.ended;) {
    at = await untilItWorks(async () => (await stream.append(ref, at, addition)) ?? stream.position(ref));
  }
}

async function untilItWorks<T>(step: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await step();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

const clients: Connections[] = [];

/** Of a person of her own; to be closed with `closeReaders`. */
export function aReader(natsUrl: string): Logs {
  const client = new Connections({ temporal: {}, namespace: 'none', natsUrl });
  clients.push(client);
  return new Logs(client);
}

export async function closeReaders(): Promise<void> {
  await Promise.all(clients.splice(0).map((client) => client.close()));
}

export const textOf = ({ entries }: LogChunk): string =>
  entries.map(({ bytes }) => Buffer.from(bytes).toString()).join('');

export async function textOfAll(chunks: AsyncIterable<LogChunk>): Promise<string> {
  let text = '';
  for await (const chunk of chunks) text += textOf(chunk);
  return text;
}

/** A reader in the background: what it has so far, and how it is told that the run has ended. */
export function aFollower(logs: Logs, selection: LogSelection) {
  const ended = Promise.withResolvers<void>();
  const stopped = new AbortController();
  const chunks: LogChunk[] = [];
  const follow = async (): Promise<void> => {
    const options = { ended: ended.promise, signal: stopped.signal };
    for await (const chunk of logs.follow(selection, options)) chunks.push(chunk);
  };
  const text = (): string => chunks.map(textOf).join('');
  return {
    done: follow(),
    end: () => ended.resolve(),
    stop: () => stopped.abort(),
    text,
    has: (part: string, withinMs?: number) =>
      eventually(
        () => Promise.resolve(text()),
        (all) => all.includes(part),
        withinMs,
      ),
  };
}
