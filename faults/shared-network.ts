/**
 * One network for the containers of all nodes, without any other: in it, the ranks of a gang reach each other, as they do
 * over the network of a real cluster. It is the network of a process, which is also where they meet.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const READY_MS = 15_000;

export class SharedNetwork {
  private readonly server: ChildProcess;

  private constructor(server: ChildProcess) {
    this.server = server;
  }

  /** @throws Error when it can not be made: it needs `unshare` and `ip`, and root */
  static async make(): Promise<SharedNetwork> {
    const program = path.join(import.meta.dirname, 'meeting-server.ts');
    const script = 'ip link set lo up && exec "$0" --disable-warning=ExperimentalWarning "$1"';
    const server = spawn('unshare', ['--net', 'sh', '-c', script, process.execPath, program], {
      stdio: ['ignore', 'pipe', 'inherit'],
      // Ctrl-C is for the suite alone.
      detached: true,
    });
    const network = new SharedNetwork(server);
    const isReady = await Promise.race([
      once(server.stdout, 'data').then(() => true),
      once(server, 'exit').then(() => false),
      sleep(READY_MS, false),
    ]);
    if (!isReady) {
      await network.close();
      throw new Error('the network of the containers could not be made: is `ip` there?');
    }
    return network;
  }

  /** As `nsenter --net` takes it. */
  get file(): string {
    return `/proc/${this.server.pid}/ns/net`;
  }

  async close(): Promise<void> {
    const { server } = this;
    if (server.exitCode !== null || server.signalCode !== null) return;
    const gone = once(server, 'exit');
    server.kill('SIGKILL');
    await gone;
  }
}
