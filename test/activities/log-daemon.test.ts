import { afterAll, beforeAll, expect, it } from 'vitest';
import { dockerLogOptions } from '../../activities/container-logs.ts';
import { containerName } from '../../core/naming.ts';
import { aLogShipper, aRank, eventually, SETTINGS, shippedLog } from '../support/docker.ts';
import type { TestDockerDaemon } from '../support/docker-daemon.ts';
import { aDockerDaemon, importBash } from '../support/docker-daemon.ts';
import { useNats } from '../support/nats.ts';

const nats = useNats();
let daemon: TestDockerDaemon;

beforeAll(async () => {
  daemon = await aDockerDaemon(100);
  await daemon.start({ liveRestore: true });
  await importBash('mcli/starter', daemon);
}, 60_000);
afterAll(() => daemon.dispose(), 60_000);

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
  const logs = aLogShipper(nats.connection, { docker });
  logs.follow(rank);
  for (const [shipped, signal] of [
    [50, 'SIGKILL'],
    [150, 'SIGTERM'],
  ] as const) {
    await eventually(
      async () => (await shippedLog(nats.connection, rank).catch(() => undefined))?.entries.length ?? 0,
      (count) => count > shipped,
    );
    await daemon.end(signal);
    await daemon.start({ liveRestore: true });
  }
  await docker.waitForExit(containerName(rank), new AbortController().signal);
  await logs.close(rank, 'exit 0');
  const { text } = await shippedLog(nats.connection, rank);
  expect(text).toBe(Array.from({ length: 400 }, (_, index) => `line ${index + 1}\n`).join(''));
}, 60_000);
