/** Logs whose store loses what it had acknowledged: the container's own log has it still. */
import { jetstreamManager } from '@nats-io/jetstream';
import { afterEach, expect, it } from 'vitest';
import type { RankRef } from '../../core/naming.ts';
import { containerName, LOG_STREAM } from '../../core/naming.ts';
import { aLoggedRank, aLogShipper, docker, eventually, shippedLog } from '../support/docker.ts';
import { aFollower, aReader, closeReaders } from '../support/logs.ts';
import { useNats } from '../support/nats.ts';

const nats = useNats('test');
afterEach(closeReaders);

const shipper = () => aLogShipper(nats.connection);
const follow = ({ run }: RankRef) => aFollower(aReader(nats.url), { run, ranks: 1 });
const isShipped = (rank: RankRef, count: number) =>
  eventually(
    async () => (await shippedLog(nats.connection, rank).catch(() => undefined))?.entries.length ?? 0,
    (shipped) => shipped >= count,
  );
const numbers = (count: number): string =>
  Array.from({ length: count }, (_, index) => `${index + 1}\n`).join('');

it('writes again what a store has lost that came back with an older state', async () => {
  const rank = await aLoggedRank('for i in {1..300}; do echo $i; sleep 0.02; done');
  const logs = shipper();
  logs.follow(rank);
  const follower = follow(rank);
  await isShipped(rank, 20);
  await nats.keepState();
  await isShipped(rank, 120);
  await nats.goBack();
  await docker.waitForExit(containerName(rank), new AbortController().signal);
  await logs.close(rank, 'exit 0');
  expect(await shippedLog(nats.connection, rank)).toMatchObject({ text: numbers(300), ends: ['exit 0'] });
  follower.end();
  await follower.done;
  expect(follower.text()).toBe(numbers(300));
}, 60_000);

it('writes again what was lost after the last line, before it ends the log', async () => {
  const rank = await aLoggedRank('seq 1 10; sleep 3; seq 11 50; sleep 600');
  const logs = shipper();
  logs.follow(rank);
  await isShipped(rank, 10);
  await nats.keepState();
  await isShipped(rank, 50);
  await nats.goBack();
  await docker.kill(containerName(rank), 'SIGKILL');
  await logs.close(rank, 'exit 137');
  expect(await shippedLog(nats.connection, rank)).toMatchObject({ text: numbers(50), ends: ['exit 137'] });
}, 60_000);

it('ends the log of a container that is gone, whose last lines the store has lost', async () => {
  const rank = await aLoggedRank('seq 1 10; sleep 3; seq 11 50; sleep 600');
  const logs = shipper();
  logs.follow(rank);
  await isShipped(rank, 10);
  await nats.keepState();
  await isShipped(rank, 50);
  await docker.remove(containerName(rank));
  await nats.goBack();
  await logs.close(rank, 'removed');
  expect(await shippedLog(nats.connection, rank)).toMatchObject({ text: numbers(10), ends: ['removed'] });
}, 60_000);

it('makes the stream anew that somebody has deleted, and writes the whole log again', async () => {
  const rank = await aLoggedRank('for i in {1..200}; do echo $i; sleep 0.02; done');
  const logs = shipper();
  logs.follow(rank);
  const follower = follow(rank);
  await isShipped(rank, 50);
  await (await jetstreamManager(nats.connection)).streams.delete(LOG_STREAM);
  await docker.waitForExit(containerName(rank), new AbortController().signal);
  await logs.close(rank, 'exit 0');
  expect(await shippedLog(nats.connection, rank)).toMatchObject({ text: numbers(200), ends: ['exit 0'] });
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
    const rank = await aLoggedRank('echo secret; sleep 600');
    const secretsOf = () => Promise.resolve(secrets);
    const logs = aLogShipper(nats.connection, { secretsOf });
    logs.follow(rank);
    await isShipped(rank, 1);
    await (await jetstreamManager(nats.connection)).streams.delete(LOG_STREAM);
    await docker.kill(containerName(rank), 'SIGKILL');
    await logs.close(rank, 'exit 137');
    const { text, ends } = await shippedLog(nats.connection, rank);
    expect(text).toMatch(new RegExp(`^\\[mcli] Lines are missing here: the secrets .* ${words}.*\n$`));
    expect(ends).toEqual(['exit 137']);
  },
  60_000,
);
