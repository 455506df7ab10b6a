/**
 * A Docker daemon of the suite's own: killing it, and filling its disk, hurts nobody else. It keeps its data on a small
 * file system in memory, is in another network than the machine, and leaves its containers running when it dies: they
 * belong to a containerd beside it, as with a system's own Docker. (A containerd that dockerd starts itself may still be
 * dying when the next dockerd looks for it, which then waits for it in vain.)
 */
import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readdirSync, writeFileSync, writeSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import Dockerode from 'dockerode';
import { endProcessesOf } from './leftovers.ts';
import { withLogFile } from './log-file.ts';

const run = promisify(execFile);
const READY_MS = 30_000;
const ANSWER_MS = 1_000;
const KILL_WITHIN_MS = 5_000;
const STOP_MS = 15_000;
/** As an init system would do it. */
const RESTART_MS = 500;
const BALLAST_BYTES = [1_048_576, 4_096];

export class DockerDaemon {
  readonly client: Dockerode;
  readonly host: string;
  /** On the disk of the daemon, as other things of a node are. */
  readonly disk: string;
  private readonly folder: string;
  private readonly network: string;
  private readonly diskMegabytes: number;
  private process: ChildProcess | undefined;
  private containerd: ChildProcess | undefined;
  private closing = false;

  /** @param folder short, since sockets have short names */
  constructor(
    folder: string,
    { network, diskMegabytes }: { readonly network: string; readonly diskMegabytes: number },
  ) {
    this.folder = folder;
    this.network = network;
    this.diskMegabytes = diskMegabytes;
    this.disk = path.join(folder, 'disk');
    this.host = `unix://${path.join(folder, 'docker.sock')}`;
    this.client = new Dockerode({ socketPath: path.join(folder, 'docker.sock') });
  }

  async start(): Promise<void> {
    mkdirSync(this.disk, { recursive: true });
    await run('mount', ['-t', 'tmpfs', '-o', `size=${this.diskMegabytes}m`, 'mcli-faults', this.disk]);
    this.startContainerd();
    this.startDockerd();
    await this.untilReady();
  }

  get pid(): number | undefined {
    return this.process?.pid;
  }

  /** @returns the pid that was hit */
  kill(): number | undefined {
    return this.process?.kill('SIGKILL') ? this.process.pid : undefined;
  }

  /** @returns `unknown` when the daemon did not answer: it may have done it before it died */
  async killContainer(id: string): Promise<'killed' | 'not killed' | 'unknown'> {
    const options = { signal: 'SIGKILL', abortSignal: AbortSignal.timeout(KILL_WITHIN_MS) };
    try {
      await this.client.getContainer(id).kill(options);
      return 'killed';
    } catch (error) {
      const hasAnswered = (error as { statusCode?: number }).statusCode !== undefined;
      return hasAnswered ? 'not killed' : 'unknown';
    }
  }

  async isWell(): Promise<boolean> {
    const answers = this.client.ping().then(
      () => true,
      () => false,
    );
    return await Promise.race([answers, sleep(ANSWER_MS, false)]);
  }

  /** Takes what is left of the disk. */
  fill(): void {
    const file = openSync(this.ballast, 'w');
    try {
      for (const bytes of BALLAST_BYTES) this.writeUntilFull(file, Buffer.alloc(bytes));
    } finally {
      closeSync(file);
    }
  }

  async unfill(): Promise<void> {
    await rm(this.ballast, { force: true });
  }

  /** Ends the daemon and all that it runs, and removes its data. */
  async close(): Promise<void> {
    // It may have been killed a moment ago.
    await this.untilReady().catch((error: unknown) => console.error(error));
    this.closing = true;
    const containers = await this.client.listContainers({ all: true }).catch(() => []);
    await Promise.all(
      containers.map(({ Id }) =>
        this.client
          .getContainer(Id)
          .remove({ force: true })
          .catch(() => undefined),
      ),
    );
    await end(this.process);
    await end(this.containerd);
    // What a daemon leaves behind that was killed while it removed a container.
    endProcessesOf(this.at('containerd.sock'));
    for (const name of namesIn(path.join(this.folder, 'exec/netns'))) {
      await run('umount', [path.join(this.folder, 'exec/netns', name)]).catch(() => undefined);
    }
    await run('umount', ['--lazy', this.disk]).catch(() => undefined);
  }

  private get ballast(): string {
    return path.join(this.disk, 'ballast');
  }

  private writeUntilFull(file: number, piece: Buffer): void {
    for (;;) {
      try {
        if (writeSync(file, piece) < piece.length) return;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return;
        throw error;
      }
    }
  }

  private startContainerd(): void {
    const config = this.at('containerd.toml');
    writeFileSync(
      config,
      [
        'version = 2',
        `root = ${JSON.stringify(path.join(this.disk, 'containerd'))}`,
        `state = ${JSON.stringify(this.at('containerd'))}`,
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
        '[grpc]',
        `  address = ${JSON.stringify(this.at('containerd.sock'))}`,
        '',
      ].join('\n'),
    );
    this.containerd = this.spawn(['containerd', '--config', config], 'containerd.log');
  }

  private startDockerd(): void {
    const command = [
      // Not in the machine's network: a daemon without a bridge removes the docker0 that it finds.
      ['nsenter', `--net=${this.network}`, 'dockerd'],
      ['--host', this.host, '--containerd', this.at('containerd.sock')],
      ['--data-root', path.join(this.disk, 'docker'), '--exec-root', this.at('exec')],
      ['--pidfile', this.at('docker.pid'), '--live-restore', '--bridge=none', '--iptables=false'],
    ].flat();
    this.process = this.spawn(command, 'dockerd.log');
    this.process.on('exit', () => {
      if (!this.closing) setTimeout(() => !this.closing && this.startDockerd(), RESTART_MS);
    });
  }

  private spawn([program = '', ...args]: readonly string[], logName: string): ChildProcess {
    const child = withLogFile(this.at(logName), (log) =>
      spawn(program, args, { stdio: ['ignore', log, log], detached: true }),
    );
    // A program that is missing shows as a daemon that never answers.
    child.on('error', () => undefined);
    return child;
  }

  private at(name: string): string {
    return path.join(this.folder, name);
  }

  private async untilReady(): Promise<void> {
    const deadline = Date.now() + READY_MS;
    while (!(await this.isWell())) {
      if (Date.now() > deadline) {
        throw new Error(`dockerd did not answer within ${READY_MS / 1000} s; see ${this.folder}/dockerd.log`);
      }
      await sleep(50);
    }
  }
}

async function end(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await gone;
  clearTimeout(late);
}

/**
 * Copies an image from the machine's Docker.
 * @throws Error when a daemon does not take it
 */
export async function copyImage(name: string, daemons: readonly DockerDaemon[]): Promise<void> {
  const machine = new Dockerode();
  await Promise.all(
    daemons.map(async ({ client }) => {
      const answer = await text(await client.loadImage(await machine.getImage(name).get()));
      // A failure comes inside of an answer that began well.
      if (answer.includes('"error"')) throw new Error(`image ${name} could not be copied: ${answer}`);
    }),
  );
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
