/**
 * Ships container logs to the log stream, each entry exactly once, whatever is killed in between.
 *
 * Docker's log of a container only grows, so an entry's number names it for ever. The last message in the stream says
 * which numbers are there; the rest is read from Docker and appended on the condition that nobody else appended
 * meanwhile. A lost acknowledgement, a second agent and a restart all come out at the same place: read the position
 * again and go on from there.
 *
 * A stream that has lost messages, as after a power cut, stands where it stood before: the log is read again, and what is
 * missing is appended again. The end of a log that was lost after its container was removed is gone.
 *
 * That holds while Docker has the log from its first entry on. A log that reached its limit ends in the stream before
 * Docker's file is turned over for the first time; its beginning is given up with the second time.
 */
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { NEWLINE } from '../core/log-entries.ts';
import type { LogEntry } from '../core/log-entries.ts';
import type { RankRef } from '../core/naming.ts';
import { containerName } from '../core/naming.ts';
import { createSecretMask } from '../core/secret-mask.ts';
import type { SecretMask } from '../core/secret-mask.ts';
import type { Docker } from './docker.ts';
import { DockerError } from './docker-requests.ts';
import { DockerLogFrames } from './docker-log-frames.ts';
import { LogEntryMask } from './log-entry-mask.ts';
import type { LogAddition, LogPosition, LogStream } from './log-stream.ts';

export interface ContainerLogs {
  /** Ships the log in the background until the container stops. To be called after every start and attachment. */
  follow(ref: RankRef): void;
  /**
   * Ships what is left of the log of a stopped container, and ends it. Resolves when all of it is in the stream,
   * which takes as long as NATS is away. The first reason given stays.
   */
  close(ref: RankRef, reason: string): Promise<void>;
}

interface Dependencies {
  readonly docker: Docker;
  readonly stream: LogStream;
  /**
   * What must not be seen in the log of a rank. The same for the whole life of its container, because what was masked
   * in one way must not be read again in another. Asked again until it answers: nothing is shipped before, and nothing
   * more when it can never be known again, which `undefined` says.
   */
  readonly secretsOf: (ref: RankRef) => Promise<readonly string[] | undefined>;
  /** Of one rank's log, as Docker stores it. */
  readonly maxBytes: number;
}

/** How much of one rank's log waits in memory for NATS; beyond it, Docker is not read on, and keeps it on disk. */
const MAX_QUEUE_BYTES = 4 * 1024 * 1024;
const MAX_BATCH_BYTES = 256 * 1024;
/** What an entry takes beside its own bytes in Docker's file, which is more than elsewhere: short lines count too. */
const ENTRY_BYTES = 32;
/** A log that was silent is shipped at once; one that keeps talking, in batches this far apart. */
const BATCH_INTERVAL_MS = 50;
/**
 * Readings of a stopped container's log that bring nothing more, after which the rest counts as lost: 10 s, since a
 * daemon that comes or goes may have nothing to tell for a while.
 */
const MAX_FRUITLESS = 5;
const RETRY_MS = 500;
/** A server that is restarted is back before. */
const SAY_AT_ATTEMPT = 20;
const MAX_PAUSE_MS = 30_000;
/** Pieces of long lines take 100 bytes more in Docker's file, for 16 KiB each. */
const PIECE_SHARE = 1.02;
const BYTES_PER_MB = 1_048_576;

/**
 * The `local` driver keeps every byte as it was written (json-file replaces those that are not UTF-8). The file is
 * turned over only when it holds more than the stream takes, and stays readable until it is turned over again.
 * @param maxBytes the limit of one rank's log
 */
export function dockerLogOptions(maxBytes: number): {
  readonly Type: string;
  readonly Config: Readonly<Record<string, string>>;
} {
  const fileBytes = Math.ceil(maxBytes * PIECE_SHARE) + BYTES_PER_MB;
  return { Type: 'local', Config: { 'max-size': String(fileBytes), 'max-file': '2', compress: 'false' } };
}

export function createContainerLogs(dependencies: Dependencies): ContainerLogs {
  // One per container that is being followed; closed logs leave.
  const open = new Map<string, RankLog>();
  const of = (ref: RankRef): RankLog => {
    const name = containerName(ref);
    const log = open.get(name) ?? new RankLog(dependencies, ref);
    open.set(name, log);
    return log;
  };
  return {
    follow: (ref) => of(ref).follow(),
    async close(ref, reason) {
      await of(ref).close(reason);
      open.delete(containerName(ref));
    },
  };
}

class RankLog {
  readonly #docker: Docker;
  readonly #stream: LogStream;
  readonly #secretsOf: Dependencies['secretsOf'];
  readonly #maxBytes: number;
  readonly #ref: RankRef;
  /** Passes run one after the other; each ends when the container stops. */
  #passes: Promise<void> = Promise.resolve();
  #closed: Promise<void> | undefined;

  #mask: SecretMask | undefined;
  #position: LogPosition | undefined;
  /** Entries that were read and are not in the stream yet: numbers from `#position.nextEntry` on. */
  #queue: LogEntry[] = [];
  #queueBytes = 0;
  #shipping: Promise<void> | undefined;
  #lastBatchAt = 0;
  /** Ends the wait between batches. */
  #hurry = new AbortController();
  #lastRead: LogEntry | undefined;
  #entriesRead = 0;
  /** What the mask held back when the log was read to its end. */
  #rest: readonly LogEntry[] = [];
  /** The entry that says why the log ends here, from when it is in the queue. */
  #notice: LogEntry | undefined;
  #reading: Readable | undefined;
  /** True from when the stream was found further back than before, until Docker's log is about to be read again. */
  #startsOver = false;
  #hasComplained = false;

  constructor({ docker, stream, secretsOf, maxBytes }: Dependencies, ref: RankRef) {
    this.#docker = docker;
    this.#stream = stream;
    this.#secretsOf = secretsOf;
    this.#maxBytes = maxBytes;
    this.#ref = ref;
  }

  follow(): void {
    this.#passes = this.#passes
      .then(() => this.#pass())
      .catch((error: unknown) => {
        // Unheard, it would end the agent, and the next one, too.
        console.error(`The log of ${this.#name} is not read on: ${String(error)}`);
      });
  }

  close(reason: string): Promise<void> {
    this.follow();
    this.#closed ??= this.#passes.then(() => this.#end(reason));
    return this.#closed;
  }

  async #pass(): Promise<void> {
    this.#position ??= await untilItWorks(this.#name, () => this.#stream.position(this.#ref));
    do {
      this.#startsOver = false;
      await this.#readToEnd();
      await this.#drain();
    } while (this.#startsOver);
  }

  async #readToEnd(): Promise<void> {
    let fruitless = 0;
    for (let pauseMs = RETRY_MS; !this.#isOver;) {
      const mask = await this.#secretMask();
      if (mask === undefined) return;
      const state = await untilItWorks(this.#name, () => this.#docker.inspect(this.#name));
      const running = state?.status === 'running';
      if (state === undefined || (!running && (await this.#isWhole()))) return;
      const before = this.#entriesRead;
      const complete = await this.#read(mask);
      const gotOn = this.#entriesRead > before;
      fruitless = running || gotOn ? 0 : fruitless + 1;
      if (fruitless >= MAX_FRUITLESS) this.#enqueueNotice(FILE_IS_DAMAGED);
      else if (running || !complete || !gotOn) {
        // A file that can't be read beyond a damaged place would be read from its start all the time. But when the
        // container has stopped, its GPUs wait.
        const startsAnew = gotOn || fruitless === 1;
        pauseMs = startsAnew ? RETRY_MS : Math.min(2 * pauseMs, MAX_PAUSE_MS);
        await (running ? this.#untilStopped(pauseMs) : sleep(pauseMs));
      }
    }
  }

  /** Undefined where it cannot be had, which the log then says: nothing of it may be shown. */
  async #secretMask(): Promise<SecretMask | undefined> {
    if (this.#mask) return this.#mask;
    const secrets = await untilItWorks(this.#name, () => this.#secretsOf(this.#ref));
    if (secrets === undefined) this.#enqueueNotice(SECRETS_ARE_UNKNOWN);
    else this.#mask = this.#maskOf(secrets);
    return this.#mask;
  }

  /** Whatever the secrets are like: a log that never ends would keep the GPUs of its run. */
  #maskOf(secrets: readonly string[]): SecretMask | undefined {
    try {
      return createSecretMask(secrets);
    } catch (error) {
      console.error(`What the log of ${this.#name} must not show cannot be looked for: ${String(error)}`);
      this.#enqueueNotice(SECRETS_ARE_TOO_MUCH);
      return undefined;
    }
  }

  /**
   * Whether the last entry that was read is the last that Docker has. Asked after the container has stopped, since
   * Docker may end a followed stream a moment before the last lines are in it.
   */
  async #isWhole(): Promise<boolean> {
    let last: LogEntry | undefined;
    try {
      const frames = new DockerLogFrames();
      for await (const chunk of await this.#open(1)) {
        for (const entry of frames.push(chunk as Buffer)) last = entry;
      }
    } catch {
      // Not asked again: over the end of a torn file Docker 20.10 dies of the question.
      return false;
    }
    if (last === undefined || this.#lastRead === undefined) return last === this.#lastRead;
    // Without its predecessors, the last piece of a long line is not known for one, and lacks its newline.
    const [first, second] = [last, this.#lastRead].map(({ bytes }) =>
      Buffer.from(bytes).toString('latin1').trimEnd(),
    );
    return last.timeNs === this.#lastRead.timeNs && first === second;
  }

  /** Reads Docker's log from its start to where it ends now, or is full. @returns false when it broke off. */
  async #read(secrets: SecretMask): Promise<boolean> {
    const frames = new DockerLogFrames();
    const mask = new LogEntryMask(secrets);
    let number = 0;
    let bytes = 0;
    this.#startsOver = false;
    try {
      this.#reading = await this.#open();
      for await (const chunk of this.#reading) {
        if (this.#startsOver) return false;
        for (const entry of frames.push(chunk as Buffer)) {
          if (number === 0 && !this.#isBeginning(entry)) this.#enqueueNotice(BEGINNING_IS_GONE, entry.timeNs);
          if (this.#isOver) return true;
          bytes += sizeOf(entry);
          const masked = mask.push(entry);
          if (number >= this.#nextToRead) {
            if (bytes <= this.#maxBytes) this.#enqueue(masked);
            else this.#enqueueNotice(limitReached(this.#maxBytes), entry.timeNs);
          }
          this.#lastRead = entry;
          number += 1;
          this.#entriesRead = Math.max(this.#entriesRead, number);
        }
        if (this.#queueBytes >= MAX_QUEUE_BYTES) await this.#drain();
      }
      this.#rest = mask.flush(this.#lastRead?.timeNs ?? 0n);
      return true;
    } catch (error) {
      if (!this.#startsOver) this.#complain(error);
      await sleep(RETRY_MS);
      return false;
    }
  }

  /** Once: it is read again, and again. */
  #complain(error: unknown): void {
    if (this.#hasComplained) return;
    this.#hasComplained = true;
    console.error(`The log of ${this.#name} broke off, and is read again from its start: ${String(error)}`);
  }

  /** Docker has given the beginning of a log up when it starts with another entry than it did before. */
  #isBeginning({ timeNs }: LogEntry): boolean {
    const { startNs = timeNs } = this.#at;
    this.#position = { ...this.#at, startNs };
    return timeNs === startNs;
  }

  /** The stream ends a moment before the container counts as stopped; a stream that broke off is opened again. */
  async #untilStopped(withinMs: number): Promise<void> {
    await this.#docker.waitForExit(this.#name, AbortSignal.timeout(withinMs)).catch(() => undefined);
  }

  /** Nothing when there is no container (any more): it never started, or its log was shipped before. */
  async #open(tail?: number): Promise<Readable> {
    try {
      return await this.#docker.logs(this.#name, tail);
    } catch (error) {
      if (error instanceof DockerError && error.statusCode === 404) return Readable.from([]);
      throw error;
    }
  }

  get #name(): string {
    return containerName(this.#ref);
  }

  get #nextToRead(): number {
    return this.#at.nextEntry + this.#queue.length;
  }

  #enqueue(entry: LogEntry): void {
    this.#queue.push(entry);
    this.#queueBytes += sizeOf(entry);
    this.#shipping ??= this.#ship().finally(() => (this.#shipping = undefined));
  }

  /** Takes the place of an entry; nothing but the end may follow. */
  #enqueueNotice(text: string, timeNs = this.#lastRead?.timeNs ?? nowNs()): void {
    if (this.#isOver) return;
    const before = this.#queue.at(-1);
    const lineIsOpen = before ? before.bytes.at(-1) !== NEWLINE : this.#at.lineIsOpen;
    const bytes = Buffer.from(`${lineIsOpen ? '\n' : ''}[mcli] ${text}\n`);
    this.#notice = { stream: 'stderr', timeNs, bytes };
    this.#enqueue(this.#notice);
  }

  /** Whether no entry of Docker's can come any more. */
  get #isOver(): boolean {
    return this.#at.full || this.#at.ended || this.#notice !== undefined;
  }

  /** Waits until the queue is in the stream. */
  async #drain(): Promise<void> {
    this.#hurry.abort();
    while (this.#queue.length > 0) await this.#shipping;
    this.#hurry = new AbortController();
  }

  async #ship(): Promise<void> {
    while (this.#queue.length > 0) {
      await this.#pace();
      const entries = this.#nextBatch();
      await this.#append({ entries, ...(entries.at(-1) === this.#notice && { full: true }) });
      this.#lastBatchAt = Date.now();
    }
  }

  async #pace(): Promise<void> {
    const waitMs = this.#lastBatchAt + BATCH_INTERVAL_MS - Date.now();
    if (waitMs <= 0 || this.#queueBytes >= MAX_BATCH_BYTES) return;
    await sleep(waitMs, undefined, { signal: this.#hurry.signal }).catch(() => undefined);
  }

  #nextBatch(): LogEntry[] {
    let bytes = 0;
    const end = this.#queue.findIndex((entry) => (bytes += sizeOf(entry)) > MAX_BATCH_BYTES);
    return end === -1 ? this.#queue.slice() : this.#queue.slice(0, Math.max(end, 1));
  }

  async #end(reason: string): Promise<void> {
    while (!this.#at.ended) {
      // In one message with the end, because a restart of the container would give their numbers to others.
      await this.#append({ entries: this.#isOver ? [] : this.#rest, endReason: reason });
      if (this.#at.ended) return;
      // Somebody else was first, or the stream has lost something: there may be more to read.
      this.follow();
      await this.#passes;
    }
  }

  /** One attempt, repeated while NATS is away; afterwards the position tells what is in the stream. */
  async #append(addition: LogAddition): Promise<void> {
    const before = this.#at;
    const after = await untilItWorks(
      this.#name,
      async () =>
        (await this.#stream.append(this.#ref, before, addition)) ?? (await this.#stream.position(this.#ref)),
    );
    const { startNs = before.startNs } = after;
    this.#position = { ...after, ...(startNs !== undefined && { startNs }) };
    if (after.nextEntry < before.nextEntry) return this.#startOver();
    const shipped = after.ended || after.full ? this.#queue.length : after.nextEntry - before.nextEntry;
    for (const entry of this.#queue.splice(0, shipped)) this.#queueBytes -= sizeOf(entry);
  }

  /** The stream has lost messages. What was read is numbered from where it stood before. */
  #startOver(): void {
    console.error(`The log server has lost the end of the log of ${this.#name}, which is written again.`);
    this.#startsOver = true;
    this.#queue = [];
    this.#queueBytes = 0;
    this.#lastRead = undefined;
    this.#entriesRead = 0;
    this.#rest = [];
    this.#notice = undefined;
    this.#reading?.destroy();
  }

  get #at(): LogPosition {
    if (this.#position === undefined) throw new Error('The position is read first.');
    return this.#position;
  }
}

const BEGINNING_IS_GONE =
  'Lines are missing here: the log grew past twice the limit (MCLI_NODE_LOG_LIMIT_MB) that its container was created ' +
  'with, before it could be kept. What the run prints from here on is not kept.';

const SECRETS_ARE_UNKNOWN =
  'Lines are missing here: the secrets that must not be seen in them can no longer be told, since the key of the node ' +
  'was taken away. What the run prints from here on is not kept.';
const SECRETS_ARE_TOO_MUCH =
  'Lines are missing here: the secrets that must not be seen in them are too much for the agent to look for. ' +
  'What the run prints from here on is not kept.';
const FILE_IS_DAMAGED =
  "Lines are missing here: Docker cannot read the rest of its own file. Was the node's disk full, or its power off?";

function limitReached(maxBytes: number): string {
  const limit = Math.round(maxBytes / BYTES_PER_MB).toLocaleString('en-US');
  return (
    `This log reached its limit of ${limit} MB (MCLI_NODE_LOG_LIMIT_MB); ` +
    'what the run prints from here on is not kept.'
  );
}

function nowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}

function sizeOf(entry: LogEntry): number {
  return ENTRY_BYTES + entry.bytes.length;
}

/** Tries again without end: the run goes on meanwhile, and its log waits on the node's disk. */
async function untilItWorks<T>(container: string, step: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await step();
    } catch (error) {
      if (attempt === SAY_AT_ATTEMPT) console.error(`The log of ${container} waits: ${String(error)}`);
      await sleep(RETRY_MS);
    }
  }
}
