import type { NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { dockerLogOptions } from '../../activities/container-logs.ts';
import { containerName } from '../../core/naming.ts';
import { aLogShipper, aRank, eventually, SETTINGS, shippedLog } from '../support/docker.ts';
import type { TestDockerDaemon } from '../support/docker-daemon.ts';
import { aDockerDaemon, importBash } from '../support/docker-daemon.ts';
import type { TestNats } from '../support/nats.ts';
import { startNats } from '../support/nats.ts';

let nats: TestNats;
let connection: NatsConnection;
let daemon: TestDockerDaemon;

beforeAll(async () => {
  [nats, daemon] = await Promise.all([startNats(), aDockerDaemon(100)]);
  connection = await nats.connect();
  await daemon.start({ liveRestore: true });
  await importBash('mcli/starter', daemon);
}, 60_000);
afterAll(async () => {
  await connection.close();
  await Promise.all([nats.dispose(), daemon.dispose()]);
}, 60_000);

it('has every line once when the Docker daemon is killed and restarted under a container', async () => {
  const { docker } = daemon;
  const rank = aRank('for i in {1..400}; do echo "line $i"; sleep 0.01; done');
  await docker.create({
    name: containerName(rank),
    Image: rank.spec.image,
    Cmd: ['/usr/bin/bash', '-c', rank.spec.command],
    HostConfig: { NetworkMode: 'none', LogConfig: dockerLogOptions(SETTINGS.logLimitBytes) },
  });
  await docker.start(containerName(rank));
  const logs = aLogShipper(Promise.resolve(connection), { docker });
  logs.follow(rank);
  for (const [shipped, signal] of [
    [50, 'SIGKILL'],
    [150, 'SIGTERM'],
  ] as const) {
    await eventually(
      async () => (await shippedLog(connection, rank).catch(() => undefined))?.entries.length ?? 0,
      (count) => count > shipped,
    );
    await daemon.end(signal);
    await daemon.start({ liveRestore: true });
  }
  await docker.waitForExit(containerName(rank), new AbortController().signal);
  await logs.close(rank, 'exit 0');
  const { text } = await shippedLog(connection, rank);
  expect(text).toBe(Array.from({ length: 400 }, (_, index) => `line ${index + 1}\n`).join(''));
}, 60_000);
