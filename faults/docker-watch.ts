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

type Labels = Readonly<Record<string, string>>;

interface Life {
  readonly id: string;
  readonly labels: Labels;
  startedAt: number;
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
  private readonly docker: Dockerode;
  private readonly lives = new Map<string, Life>();
  /** Containers of which Docker has told no start, by id: it may die before it does. */
  private readonly unstarted = new Map<string, Labels>();
  private readonly closing = new AbortController();

  constructor(node: string, docker: Dockerode) {
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
    return [...this.lives.values()]
      .filter((life) => isAlive(life))
      .map(({ id, labels }) => ({
        id,
        run: labels[LABELS.run] ?? '',
        resumption: Number(labels[LABELS.resumption]),
      }));
  }

  evidence(): ContainerLife[] {
    return [...this.lives.values()].map((life) => ({
      id: life.id,
      node: this.node,
      run: life.labels[LABELS.run] ?? '',
      resumption: Number(life.labels[LABELS.resumption]),
      rank: Number(life.labels[LABELS.rank]),
      fence: Number(life.labels[LABELS.fence]),
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

  private hear({ Action, Actor, timeNano }: DockerEvent): void {
    const at = timeNano / 1e6;
    if (Actor.Attributes[LABELS.run] === undefined) return;
    if (Action === 'create') {
      this.unstarted.set(Actor.ID, Actor.Attributes);
      return;
    }
    if (Action === 'start') {
      this.meet(Actor.ID, Actor.Attributes, at);
      return;
    }
    const life = this.lives.get(Actor.ID);
    if (life === undefined) return;
    life.diedAt ??= at;
    life.exitCode = Number(Actor.Attributes['exitCode']);
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
      if (State === 'created' && !this.lives.has(Id)) this.unstarted.set(Id, Labels);
      const known = this.lives.get(Id);
      const isKnown = known !== undefined && (known.diedAt !== undefined || State === 'running');
      // The daemon may have died before it told which process that is.
      if (isKnown && known.pid === 0) void this.findProcess(known).catch(() => undefined);
      if (isKnown || State === 'created') continue;
      const { State: state } = await this.docker.getContainer(Id).inspect(limit());
      // One that could not be started, and is being removed.
      if (state.StartedAt.startsWith('0001')) continue;
      const life = known ?? this.meet(Id, Labels, Date.parse(state.StartedAt));
      if (state.Running) continue;
      life.diedAt ??= Date.parse(state.FinishedAt);
      life.exitCode ??= state.ExitCode;
    }
  }

  private meet(id: string, labels: Labels, startedAt: number): Life {
    this.unstarted.delete(id);
    const known = this.lives.get(id);
    if (known !== undefined) return known;
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
    this.lives.set(id, life);
    void this.readAlong(life);
    void this.findProcess(life).catch(() => undefined);
    return life;
  }

  private async findProcess(life: Life): Promise<void> {
    const { State: state } = await this.docker.getContainer(life.id).inspect(limit());
    if (state.Pid === 0) return;
    life.pid = state.Pid;
    life.identity = identify(state.Pid)?.started;
  }

  /** A program that Docker does not know of. */
  private async lookForStart(id: string, isRemoved: boolean): Promise<void> {
    const [pid] = (await processesOf(id)).filter((candidate) => !isPrepared(candidate));
    const labels = this.unstarted.get(id);
    if (isRemoved) this.unstarted.delete(id);
    if (labels === undefined || pid === undefined) return;
    const life = this.meet(id, labels, Date.now());
    life.pid = pid;
    life.identity = identify(pid)?.started;
  }

  private async askKernel(): Promise<void> {
    for (const id of this.unstarted.keys()) await this.lookForStart(id, false);
    for (const life of this.lives.values()) {
      if (!isAlive(life) || life.identity === undefined) continue;
      if (identify(life.pid)?.started === life.identity) life.lastSeenAt = Date.now();
      else life.goneAt = Date.now();
    }
  }

  /** Docker gives all from the beginning again after its daemon was dead. */
  private async readAlong(life: Life): Promise<void> {
    do {
      const chunks: Buffer[] = [];
      const note = (): void => {
        const seen = Buffer.concat(chunks).toString('latin1');
        if (seen.length > life.seen.length) life.seen = seen;
      };
      try {
        const options = { follow: true as const, stdout: true, stderr: true };
        const frames = (await this.docker.getContainer(life.id).logs(options)) as Readable;
        const plain = new PassThrough();
        plain.on('data', (chunk: Buffer) => void chunks.push(chunk));
        this.docker.modem.demuxStream(frames, plain, plain);
        await once(frames, 'close', { signal: this.closing.signal });
      } catch {
        // Dead, or the container is gone.
      }
      note();
      await sleep(RECONNECT_MS);
    } while (isAlive(life) && !this.closing.signal.aborted);
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

/** Waits for the word to become the program of its container. */
function isPrepared(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith('runc\0init');
  } catch {
    return true;
  }
}

const isAlive = ({ diedAt, goneAt }: Life): boolean => diedAt === undefined && goneAt === undefined;

/** A daemon that was dead learns of an end later than the kernel. */
function aliveUntil({ diedAt, goneAt, lastSeenAt }: Life): number {
  if (diedAt !== undefined && diedAt <= (goneAt ?? Infinity)) return diedAt;
  return lastSeenAt;
}
