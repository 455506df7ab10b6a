/** What the suite asks of a Docker daemon, answered from memory. Its programs are processes of this machine. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { PassThrough } from 'node:stream';
import type { WatchedDocker } from '../../faults/docker-watch.ts';
import { LABELS } from '../../core/naming.ts';

const NEVER = '0001-01-01T00:00:00Z';

interface FakeContainer {
  readonly labels: Record<string, string>;
  state: 'created' | 'running' | 'exited';
  startedAt: string;
  finishedAt: string;
  exitCode: number;
  program: ChildProcess | undefined;
  log: string;
  readers: PassThrough[];
}

export class FakeDocker {
  readonly docker: WatchedDocker;
  private readonly containers = new Map<string, FakeContainer>();
  private events = new PassThrough();
  private isDead = false;
  /** Whether it takes requests for logs, and never answers them. */
  swallowsLogRequests = false;

  constructor() {
    this.docker = {
      getEvents: () => this.answer(() => (this.events = new PassThrough())),
      listContainers: () =>
        this.answer(() =>
          [...this.containers].map(([Id, { labels, state }]) => ({ Id, Labels: labels, State: state })),
        ),
      getContainer: (id: string) => ({
        inspect: () => this.answer(() => this.inspect(id)),
        logs: () =>
          this.swallowsLogRequests ? new Promise(() => undefined) : this.answer(() => this.logs(id)),
      }),
      modem: { demuxStream: (from: PassThrough, to: PassThrough) => void from.pipe(to) },
    } as unknown as WatchedDocker;
  }

  create(id: string, run = 'a-000001'): void {
    const labels = {
      [LABELS.run]: run,
      [LABELS.resumption]: '0',
      [LABELS.rank]: '0',
      [LABELS.fence]: '1',
      [LABELS.gpus]: '1,3',
    };
    const container: FakeContainer = {
      labels,
      state: 'created',
      startedAt: NEVER,
      finishedAt: NEVER,
      exitCode: 0,
      program: undefined,
      log: '',
      readers: [],
    };
    this.containers.set(id, container);
    this.tell(id, 'create');
  }

  start(id: string): number {
    const container = this.get(id);
    container.program = spawn('sleep', ['60'], { stdio: 'ignore' });
    container.state = 'running';
    container.startedAt = new Date().toISOString();
    this.tell(id, 'start');
    return Date.now();
  }

  print(id: string, text: string): void {
    const container = this.get(id);
    container.log += text;
    for (const reader of container.readers) reader.write(Buffer.from(text, 'latin1'));
  }

  /** Docker's own note; the program may go on. */
  noteEnd(id: string, exitCode: number): number {
    const container = this.get(id);
    container.state = 'exited';
    container.exitCode = exitCode;
    container.finishedAt = new Date().toISOString();
    this.tell(id, 'die', { exitCode: String(exitCode) });
    this.hangUp(container);
    return Date.now();
  }

  /** @returns when the kernel has ended it */
  async endProgram(id: string): Promise<number> {
    const { program } = this.get(id);
    const gone = new Promise((resolve) => program?.once('exit', resolve));
    program?.kill('SIGKILL');
    await gone;
    return Date.now();
  }

  isRunning(id: string): boolean {
    return this.get(id).program?.exitCode === null && this.get(id).program?.signalCode === null;
  }

  forgetWhen(id: string): void {
    this.get(id).finishedAt = NEVER;
  }

  remove(id: string): void {
    this.containers.delete(id);
  }

  /** Nobody hears of what happens until it is back. */
  die(): void {
    this.isDead = true;
    this.events.destroy();
    for (const container of this.containers.values()) this.hangUp(container);
  }

  comeBack(): void {
    this.isDead = false;
  }

  close(): void {
    for (const { program } of this.containers.values()) program?.kill('SIGKILL');
    this.die();
  }

  private get(id: string): FakeContainer {
    const container = this.containers.get(id);
    if (container === undefined)
      throw Object.assign(new Error(`no such container: ${id}`), { statusCode: 404 });
    return container;
  }

  private inspect(id: string) {
    const { state, startedAt, finishedAt, exitCode, program } = this.get(id);
    const Running = state === 'running';
    return {
      State: {
        Running,
        Pid: Running ? (program?.pid ?? 0) : 0,
        StartedAt: startedAt,
        FinishedAt: finishedAt,
        ExitCode: exitCode,
      },
    };
  }

  private logs(id: string): PassThrough {
    const container = this.get(id);
    const reader = new PassThrough();
    reader.write(Buffer.from(container.log, 'latin1'));
    if (container.state === 'running') container.readers.push(reader);
    else reader.end();
    return reader;
  }

  private hangUp(container: FakeContainer): void {
    for (const reader of container.readers.splice(0)) reader.end();
  }

  private answer<T>(give: () => T): Promise<T> {
    if (this.isDead) return Promise.reject(new Error('connect ENOENT docker.sock'));
    return Promise.resolve().then(give);
  }

  private tell(id: string, Action: string, more: Record<string, string> = {}): void {
    if (this.isDead) return;
    const Attributes = { ...this.get(id).labels, ...more };
    this.events.write(
      `${JSON.stringify({ Action, Actor: { ID: id, Attributes }, timeNano: Date.now() * 1e6 })}\n`,
    );
  }
}
