/** A real nats-server with JetStream for tests, in a folder of its own. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { NatsConnection } from '@nats-io/transport-node';
import { connect } from '@nats-io/transport-node';
import { beforeAll, beforeEach } from 'vitest';

export interface TestNats {
  readonly url: string;
  /** Removed with it. */
  readonly folder: string;
  connect(): Promise<NatsConnection>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** On the same port with the same data. */
  start(): Promise<void>;
  /** Has it start anew, and keeps its state for `goBack`. */
  keepState(): Promise<void>;
  /** As after a power cut before the disk had everything, or with a restored backup. */
  goBack(): Promise<void>;
  /** With the text of a configuration, by which it may refuse this test: so whether it is up is not waited for. */
  restart(config: string): Promise<void>;
  /** Ends the server and removes its data. */
  dispose(): Promise<void>;
}

export interface ConnectedNats extends TestNats {
  readonly connection: NatsConnection;
}

/**
 * A server for all tests of the file that calls this, or a new one for each of them. Hooks that the file registers after
 * this have it, also those that end things.
 */
export function useNats(scope: 'file' | 'test' = 'file'): ConnectedNats {
  const used = {} as ConnectedNats;
  const before = scope === 'file' ? beforeAll : beforeEach;
  before(async () => {
    const nats = await startNats();
    const connection = await nats.connect();
    Object.assign(used, nats, { connection });
    return async () => {
      await connection.close();
      await nats.dispose();
    };
  });
  return used;
}

export async function startNats(): Promise<TestNats> {
  const folder = await mkdtemp(join(tmpdir(), 'mcli-test-nats-'));
  const port = await freePort();
  const url = `nats://127.0.0.1:${port}`;
  const data = join(folder, 'jetstream');
  const kept = join(folder, 'kept');
  let server: ChildProcess | undefined;

  const run = async (...more: readonly string[]): Promise<void> => {
    const address = ['-a', '127.0.0.1', '-p', String(port)];
    server = spawn(natsServerBinary(), [...address, ...more], { stdio: 'ignore' });
    await once(server, 'spawn');
  };

  const nats: TestNats = {
    url,
    folder,
    connect: () =>
      connect({
        servers: url,
        waitOnFirstConnect: true,
        maxReconnectAttempts: -1,
        reconnectTimeWait: 50,
        ignoreAuthErrorAbort: true,
      }),
    async start() {
      await run('-js', '-sd', folder);
      const probe = await nats.connect();
      await probe.close();
    },
    async keepState() {
      await nats.kill();
      await cp(data, kept, { recursive: true });
      await nats.start();
    },
    async goBack() {
      await nats.kill();
      await rm(data, { recursive: true });
      await cp(kept, data, { recursive: true });
      await nats.start();
    },
    async restart(config) {
      await nats.kill();
      const file = join(folder, 'nats.conf');
      await writeFile(file, config);
      await run('-c', file);
    },
    async kill() {
      if (server === undefined || server.exitCode !== null) return;
      const gone = once(server, 'exit');
      server.kill('SIGKILL');
      await gone;
      server = undefined;
    },
    async dispose() {
      await nats.kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
  await nats.start();
  return nats;
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

export function natsServerBinary(): string {
  const named = process.env['MCLI_NATS_SERVER_BIN'];
  if (named !== undefined) return named;
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const found = folders.map((folder) => join(folder, 'nats-server')).find(isExecutable);
  if (found === undefined) {
    throw new Error(
      'These tests need nats-server: run them with `npm test`, or name it in MCLI_NATS_SERVER_BIN.',
    );
  }
  return found;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
