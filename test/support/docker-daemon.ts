/**
 * A Docker daemon of a test's own, which may be killed and restarted: its data is on a small file system in memory, and
 * it has no network.
 */
import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { createDocker } from '../../activities/docker.ts';
import type { Docker } from '../../activities/docker.ts';
import { eventually } from './docker.ts';

const run = promisify(execFile);

export interface TestDockerDaemon {
  readonly docker: Docker;
  /** Socket of what holds its containers. */
  readonly containerd: string;
  readonly dataRoot: string;
  /** Ends the one that runs in another way. */
  start(options: { readonly liveRestore: boolean }): Promise<void>;
  /** SIGTERM asks it to stop in order, SIGKILL does not ask. */
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  dispose(): Promise<void>;
}

/** Not started yet. Needs root. */
export async function aDockerDaemon(megabytes: number): Promise<TestDockerDaemon> {
  // Short: the names of sockets are.
  const folder = await mkdtemp(path.join(tmpdir(), 'mcli-d-'));
  const at = (name: string): string => path.join(folder, name);
  const host = `unix://${at('sock')}`;
  const docker = createDocker(host);
  await run('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'mcli-test', folder]);
  // As on a real machine: what holds the containers is no child of the daemon.
  const containerd = spawn(
    'containerd',
    ['--address', at('containerd'), '--root', at('containerd-root'), '--state', at('containerd-state')],
    { stdio: 'ignore' },
  );
  let daemon: ChildProcess | undefined;

  return {
    docker,
    containerd: at('containerd'),
    dataRoot: at('data'),
    async start({ liveRestore }) {
      const keeps = await docker.keepsContainers().catch(() => undefined);
      if (keeps === liveRestore) return;
      await ended(daemon, 'SIGTERM');
      const folders = [
        '--containerd',
        at('containerd'),
        '--data-root',
        at('data'),
        '--exec-root',
        at('exec'),
        '--pidfile',
        at('pid'),
      ];
      // In a network of its own: a daemon without a bridge removes the docker0 that it finds.
      const network = ['--bridge=none', '--iptables=false', '--ip6tables=false'];
      daemon = spawn(
        'unshare',
        ['--net', 'dockerd', '--host', host, ...folders, ...network, `--live-restore=${liveRestore}`],
        { stdio: 'ignore' },
      );
      await eventually(
        () => docker.keepsContainers().catch(() => undefined),
        (now) => now === liveRestore,
      );
    },
    end: (signal) => ended(daemon, signal),
    async dispose() {
      await ended(daemon, 'SIGTERM');
      await ended(containerd, 'SIGTERM');
      const namespaces = await readdir(at('exec/netns')).catch(() => []);
      for (const name of namespaces) await run('umount', [at(`exec/netns/${name}`)]).catch(() => undefined);
      await run('umount', ['--lazy', folder]);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function ended(process: ChildProcess | undefined, signal: NodeJS.Signals): Promise<void> {
  if (process === undefined || process.exitCode !== null || process.signalCode !== null) return;
  const gone = once(process, 'exit');
  process.kill(signal);
  await gone;
}

/** Makes an image of the machine's own bash and a few programs: small, so that the disk may be, too. */
export async function importBash(name: string, { docker, dataRoot }: TestDockerDaemon): Promise<void> {
  const host = `unix://${path.join(path.dirname(dataRoot), 'sock')}`;
  await run('bash', [
    '-c',
    `programs="$(type -P bash sleep dd rm cat)"
tar c --dereference $programs $(ldd $programs | grep -o '/[^ ]*' | grep -v ':$' | sort -u) 2>/dev/null |
  docker --host '${host}' import - '${name}'`,
  ]);
  if ((await docker.image(name)) === undefined) throw new Error(`${name} could not be imported.`);
}
