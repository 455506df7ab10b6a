/** Logs whose store loses what it had acknowledged: the container's own log has it still. */
import { jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { dockerLogOptions } from '../../activities/container-logs.ts';
import type { RankRef } from '../../core/naming.ts';
import { containerName, LOG_STREAM } from '../../core/naming.ts';
import { aLogShipper, aRank, docker, eventually, SETTINGS, shippedLog } from '../support/docker.ts';
import { aFollower, aReader, closeReaders } from '../support/logs.ts';
import type { TestNats } from '../support/nats.ts';
import { startNats } from '../support/nats.ts';

let nats: TestNats;
let connection: NatsConnection;
const ranks: RankRef[] = [];

beforeEach(async () => {
  nats = await startNats();
  connection = await nats.connect();
});
afterEach(async () => {
  await closeReaders();
  await Promise.all(ranks.splice(0).map((rank) => docker.remove(containerName(rank))));
  await connection.close();
  await nats.dispose();
});

async function aContainer(command: string): Promise<RankRef> {
  const rank = aRank(command);
  ranks.push(rank);
  await docker.create({
    name: containerName(rank),
    Image: 'bash',
    Cmd: ['bash', '-c', command],
    HostConfig: { LogConfig: dockerLogOptions(SETTINGS.logLimitBytes) },
  });
  await docker.start(containerName(rank));
  return rank;
}

const shipper = () => aLogShipper(Promise.resolve(connection));
const follow = ({ run }: RankRef) => aFollower(aReader(nats.url), { run, ranks: 1 });
const isShipped = (rank: RankRef, count: number) =>
  eventually(
    async () => (await shippedLog(connection, rank).catch(() => undefined))?.entries.length ?? 0,
    (shipped) => shipped >= count,
  );
const numbers = (count: number): string =>
  Array.from({ length: count }, (_, index) => `${index + 1}\n`).join('');

it('writes again what a store has lost that came back with an older state', async () => {
  const rank = await aContainer('for i in {1..300}; do echo $i; sleep 0.02; done');
  const logs = shipper();
  logs.follow(rank);
  const follower = follow(rank);
  await isShipped(rank, 20);
  await nats.keepState();
  await isShipped(rank, 120);
  await nats.goBack();
  await docker.waitForExit(containerName(rank), new AbortController().signal);
  await logs.close(rank, 'exit 0');
  expect(await shippedLog(connection, rank)).toMatchObject({ text: numbers(300), ends: ['exit 0'] });
  follower.end();
  await follower.done;
  expect(follower.text()).toBe(numbers(300));
}, 60_000);

it('writes again what was lost after the last line, before it ends the log', async () => {
  const rank = await aContainer('seq 1 10; sleep 3; seq 11 50; sleep 600');
  const logs = shipper();
  logs.follow(rank);
  await isShipped(rank, 10);
  await nats.keepState();
  await isShipped(rank, 50);
  await nats.goBack();
  await docker.kill(containerName(rank), 'SIGKILL');
  await logs.close(rank, 'exit 137');
  expect(await shippedLog(connection, rank)).toMatchObject({ text: numbers(50), ends: ['exit 137'] });
}, 60_000);

it('ends the log of a container that is gone, whose last lines the store has lost', async () => {
  const rank = await aContainer('seq 1 10; sleep 3; seq 11 50; sleep 600');
  const logs = shipper();
  logs.follow(rank);
  await isShipped(rank, 10);
  await nats.keepState();
  await isShipped(rank, 50);
  await docker.remove(containerName(rank));
  await nats.goBack();
  await logs.close(rank, 'removed');
  expect(await shippedLog(connection, rank)).toMatchObject({ text: numbers(10), ends: ['removed'] });
}, 60_000);

it('makes the stream anew that somebody has deleted, and writes the whole log again', async () => {
  const rank = await aContainer('for i in {1..200}; do echo $i; sleep 0.02; done');
  const logs = shipper();
  logs.follow(rank);
  const follower = follow(rank);
  await isShipped(rank, 50);
  await (await jetstreamManager(connection)).streams.delete(LOG_STREAM);
  await docker.waitForExit(containerName(rank), new AbortController().signal);
  await logs.close(rank, 'exit 0');
  expect(await shippedLog(connection, rank)).toMatchObject({ text: numbers(200), ends: ['exit 0'] });
  follower.end();
  await follower.done;
  expect(follower.text()).toBe(numbers(200));
}, 60_000);

it.each([
  ['can no longer be told', undefined],
  ['are too much', [7 as unknown as string]],
])(
  'shows nothing of a log whose secrets %s, also when it writes it again',
  async (words, secrets) => {
    const rank = await aContainer('echo secret; sleep 600');
    const secretsOf = () => Promise.resolve(secrets);
    const logs = aLogShipper(Promise.resolve(connection), { secretsOf });
    logs.follow(rank);
    await isShipped(rank, 1);
    await (await jetstreamManager(connection)).streams.delete(LOG_STREAM);
    await docker.kill(containerName(rank), 'SIGKILL');
    await logs.close(rank, 'exit 137');
    const { text, ends } = await shippedLog(connection, rank);
    expect(text).toMatch(new RegExp(`^\\[mcli] Lines are missing here: the secrets .* ${words}.*\n$`));
    expect(ends).toEqual(['exit 137']);
  },
  60_000,
);
