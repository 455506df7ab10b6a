/**
 * What one Docker daemon really runs: from its events, from repeated looks at it, and from the kernel's list of
 * processes, which still tells when the daemon is dead. Also reads along what the containers print.
 */
import { readFileSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import type { Readable } from 'node:stream';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type Dockerode from 'dockerode';
import { processesOf } from '../activities/stray-processes.ts';
import { LABELS } from '../core/naming.ts';
import { identify } from '../stack/process-identity.ts';
import type { ContainerLife } from './evidence.ts';

const RECONNECT_MS = 100;
const LOOK_MS = 1_000;
const ANSWER_MS = 5_000;
const KERNEL_LOOK_MS = 100;
/** For how long the rest of a log is asked for. */
const LAST_READ_MS = 15_000;

/** As Docker says it when it does not know: it was dead. No program of the suite ends so. */
const UNKNOWN_EXIT = 255;

type Labels = Readonly<Record<string, string>>;
/** What is asked of Docker. */
export type WatchedDocker = Pick<Dockerode, 'getEvents' | 'listContainers' | 'getContainer' | 'modem'>;

/** From one start of a container to its end. */
interface Life {
  readonly id: string;
  readonly labels: Labels;
  readonly startedAt: number;
  /** Main process on this machine; 0 until it is known. */
  pid: number;
  /** As the kernel tells it: another process may get the pid. */
  identity: string | undefined;
  /** The kernel's word. */
  lastSeenAt: number;
  goneAt: number | undefined;
  /** Docker's word. */
  diedAt: number | undefined;
  exitCode: number | undefined;
  seen: string;
}

interface DockerEvent {
  readonly Action: string;
  readonly Actor: { readonly ID: string; readonly Attributes: Readonly<Record<string, string>> };
  readonly timeNano: number;
}

export class DockerWatch {
  private readonly node: string;
  private readonly docker: WatchedDocker;
  private readonly lives: Life[] = [];
  /** Containers of which Docker has told no start, by id: it may die before it does. */
  private readonly unstarted = new Map<string, Labels>();
  private readonly closing = new AbortController();

  constructor(node: string, docker: WatchedDocker) {
    this.node = node;
    this.docker = docker;
    void this.watchEvents();
    void this.repeat(LOOK_MS, () => this.look());
    void this.repeat(KERNEL_LOOK_MS, () => this.askKernel());
  }

  close(): void {
    this.closing.abort();
  }

  /** Of the containers that live now: own names of their runs, by id. */
  alive(): { readonly id: string; readonly run: string; readonly resumption: number }[] {
    return this.lives
      .filter((life) => isAlive(life))
      .map(({ id, labels }) => ({
        id,
        run: labels[LABELS.run] ?? '',
        resumption: Number(labels[LABELS.resumption]),
      }));
  }

  evidence(): ContainerLife[] {
    return this.lives.map((life) => ({
      id: life.id,
      node: this.node,
      run: life.labels[LABELS.run] ?? '',
      resumption: Number(life.labels[LABELS.resumption]),
      rank: Number(life.labels[LABELS.rank]),
      fence: Number(life.labels[LABELS.fence]),
      gpuIds: (life.labels[LABELS.gpus] ?? '').split(',').filter(Boolean).map(Number),
      startedAt: life.startedAt,
      aliveUntil: aliveUntil(life),
      ...(life.exitCode === undefined ? {} : { exitCode: life.exitCode }),
      seen: life.seen,
    }));
  }

  private async watchEvents(): Promise<void> {
    let since = Date.now() / 1000;
    while (!this.closing.signal.aborted) {
      try {
        // The types know the form with a callback only.
        const options: Dockerode.GetEventsOptions = {
          since: Number(since.toFixed(3)),
          filters: { type: ['container'], event: ['create', 'start', 'die'] },
        };
        const events = (await this.docker.getEvents(options)) as unknown as Readable;
        this.closing.signal.addEventListener('abort', () => events.destroy(), { once: true });
        await this.look();
        let rest = '';
        for await (const chunk of events) {
          const lines = (rest + String(chunk)).split('\n');
          rest = lines.pop() ?? '';
          for (const line of lines.filter(Boolean)) {
            const event = JSON.parse(line) as DockerEvent;
            since = event.timeNano / 1e9;
            this.hear(event);
          }
        }
      } catch {
        // The daemon is dead, and will be back.
      }
      await sleep(RECONNECT_MS);
    }
  }

  /** Some are heard twice: those of the moment in which the daemon was lost. */
  private hear({ Action, Actor, timeNano }: DockerEvent): void {
    const at = timeNano / 1e6;
    if (Actor.Attributes[LABELS.run] === undefined) return;
    if (Action === 'create') {
      if (this.latest(Actor.ID) === undefined) this.unstarted.set(Actor.ID, Actor.Attributes);
    } else if (Action === 'start') this.meet(Actor.ID, Actor.Attributes, at);
    else this.bury(Actor.ID, at, Number(Actor.Attributes['exitCode']));
  }

  /** For what no event told, because the daemon was dead. */
  private async look(): Promise<void> {
    const found = await this.docker.listContainers({
      all: true,
      filters: { label: [LABELS.run] },
      ...limit(),
    });
    const left = new Set(found.map(({ Id }) => Id));
    for (const id of this.unstarted.keys()) if (!left.has(id)) await this.lookForStart(id, true);
    for (const { Id, Labels, State } of found) {
      const known = this.latest(Id);
      if (State === 'created' && known === undefined) this.unstarted.set(Id, Labels);
      // The daemon may have died before it told which process that is.
      if (known?.pid === 0) void this.findProcess(known).catch(() => undefined);
      const isKnown = known !== undefined && (State === 'running') === (known.diedAt === undefined);
      if (!isKnown && State !== 'created') await this.inspect(Id, Labels);
    }
  }

  private async inspect(id: string, labels: Labels): Promise<void> {
    const { State: state } = await this.docker.getContainer(id).inspect(limit());
    const startedAt = dateOf(state.StartedAt);
    // One that could not be started, and is being removed.
    if (startedAt === undefined) return;
    this.meet(id, labels, startedAt);
    const finishedAt = dateOf(state.FinishedAt);
    if (!state.Running && finishedAt !== undefined) this.bury(id, finishedAt, state.ExitCode);
  }

  private latest(id: string): Life | undefined {
    return this.lives.findLast((life) => life.id === id);
  }

  /** A start after the end of a container is another life. */
  private meet(id: string, labels: Labels, startedAt: number): Life {
    this.unstarted.delete(id);
    const known = this.latest(id);
    if (known !== undefined && startedAt <= (known.diedAt ?? Infinity)) return known;
    const life: Life = {
      id,
      labels,
      startedAt,
      pid: 0,
      identity: undefined,
      lastSeenAt: startedAt,
      goneAt: undefined,
      diedAt: undefined,
      exitCode: undefined,
      seen: '',
    };
    this.lives.push(life);
    void this.readAlong(life);
    void this.findProcess(life).catch(() => undefined);
    return life;
  }

  private bury(id: string, at: number, exitCode: number): void {
    const life = this.latest(id);
    if (life === undefined || at < life.startedAt) return;
    life.diedAt ??= at;
    if (exitCode !== UNKNOWN_EXIT) life.exitCode ??= exitCode;
  }

  private async findProcess(life: Life): Promise<void> {
    const { State: state } = await this.docker.getContainer(life.id).inspect(limit());
    // It may be the process of another life by now.
    if (state.Pid === 0 || this.latest(life.id) !== life) return;
    life.pid = state.Pid;
    life.identity = identify(state.Pid)?.started;
  }

  /** A program that Docker does not know of. */
  private async lookForStart(id: string, isRemoved: boolean): Promise<void> {
    const [pid] = (await processesOf(id)).filter(isProgram);
    const labels = this.unstarted.get(id);
    if (isRemoved) this.unstarted.delete(id);
    if (labels === undefined || pid === undefined) return;
    const life = this.meet(id, labels, Date.now());
    life.pid = pid;
    life.identity = identify(pid)?.started;
  }

  /** Also of those that Docker holds to be dead. */
  private async askKernel(): Promise<void> {
    for (const id of this.unstarted.keys()) await this.lookForStart(id, false);
    for (const life of this.lives) {
      if (life.goneAt !== undefined || life.identity === undefined) continue;
      if (identify(life.pid)?.started === life.identity) life.lastSeenAt = Date.now();
      else life.goneAt = Date.now();
    }
  }

  /** And once more when it has ended: a daemon that was killed gives the end of it only when it is back. */
  private async readAlong(life: Life): Promise<void> {
    let deadline = Infinity;
    while (Date.now() < deadline && !this.closing.signal.aborted) {
      const isOver = !isAlive(life);
      const wasRead = await this.readLog(life).then(
        () => true,
        (error: unknown) => isRemoved(error),
      );
      if (isOver && wasRead) return;
      if (isOver) deadline = Math.min(deadline, Date.now() + LAST_READ_MS);
      await sleep(RECONNECT_MS);
    }
  }

  /** From the beginning, and on until the container or the daemon ends. */
  private async readLog(life: Life): Promise<void> {
    const options = { follow: true as const, stdout: true, stderr: true };
    const opening = this.docker.getContainer(life.id).logs(options) as Promise<Readable>;
    const frames = await Promise.race([opening, sleep(ANSWER_MS, undefined, { ref: false })]);
    if (frames === undefined) {
      void opening.then((late) => late.destroy()).catch(() => undefined);
      throw new Error('Docker does not answer.');
    }
    const plain = new PassThrough();
    let seen = '';
    plain.on('data', (chunk: Buffer) => {
      seen += chunk.toString('latin1');
      if (seen.length > life.seen.length) life.seen = seen;
    });
    this.docker.modem.demuxStream(frames, plain, plain);
    await once(frames, 'close', { signal: this.closing.signal });
  }

  private async repeat(everyMs: number, step: () => Promise<void>): Promise<void> {
    while (!this.closing.signal.aborted) {
      await step().catch(() => undefined);
      await sleep(everyMs);
    }
  }
}

/** A daemon that is killed in the middle of an answer leaves it open for ever. */
const limit = () => ({ abortSignal: AbortSignal.timeout(ANSWER_MS) });

const isRemoved = (error: unknown): boolean => (error as { statusCode?: number }).statusCode === 404;

/** Docker has the year 1 for what has not happened. */
function dateOf(text: string): number | undefined {
  return text.startsWith('0001') ? undefined : Date.parse(text);
}

/** And not what waits for the word to become one, nor what has just ended: that has no arguments left. */
function isProgram(pid: number): boolean {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
    return command !== '' && !command.startsWith('runc\0init');
  } catch {
    return false;
  }
}

const isAlive = ({ diedAt, goneAt }: Life): boolean => diedAt === undefined && goneAt === undefined;

/**
 * Whoever saw it alive last is right: a daemon that was dead may hold a program to be ended that runs on, and learns of
 * an end later than the kernel.
 */
function aliveUntil({ diedAt, goneAt, lastSeenAt }: Life): number {
  const isNotLate = diedAt !== undefined && diedAt <= (goneAt ?? Infinity);
  return isNotLate ? Math.max(lastSeenAt, diedAt) : lastSeenAt;
}
