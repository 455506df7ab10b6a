/** Stands between Docker's clients and the daemon of this machine, and lets it be away, or silent. */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

export interface DockerProxy {
  /** As in DOCKER_HOST. */
  readonly host: string;
  /** How many connections have been answered. */
  answers(): number;
  /** From now on nobody is answered, those included who wait. */
  fallSilent(): void;
  /** From now on nobody gets through, as while a daemon is restarted. */
  goAway(): Promise<void>;
  dispose(): Promise<void>;
}

export async function aDockerProxy(): Promise<DockerProxy> {
  const folder = await mkdtemp(path.join(tmpdir(), 'mcli-p-'));
  const socketPath = path.join(folder, 'sock');
  const clients = new Set<Socket>();
  let answers = 0;
  let isSilent = false;
  const server = createServer((client) => {
    clients.add(client);
    client.on('close', () => clients.delete(client)).on('error', () => undefined);
    if (isSilent) return;
    const daemon = connect('/var/run/docker.sock').on('error', () => client.destroy());
    client.on('close', () => daemon.destroy());
    daemon.once('data', () => (answers += 1)).on('data', (bytes) => isSilent || client.write(bytes));
    daemon.on('end', () => isSilent || client.end());
    client.pipe(daemon);
  }).listen(socketPath);
  await once(server, 'listening');
  const goAway = async (): Promise<void> => {
    for (const client of clients) client.destroy();
    if (!server.listening) return;
    server.close();
    await once(server, 'close');
  };
  return {
    host: `unix://${socketPath}`,
    answers: () => answers,
    fallSilent: () => void (isSilent = true),
    goAway,
    async dispose() {
      await goAway();
      await rm(folder, { recursive: true });
    },
  };
}
