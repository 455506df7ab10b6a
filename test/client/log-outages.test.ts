/** What readers of logs go through: links that break, servers that go, refuse, or come back with an older state. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { LogEntry } from '../../core/log-entries.ts';
import { Proxy } from '../../faults/proxy.ts';
import { aFollower, aReader, aRun, closeReaders, line, refOf, textOf, writeLog } from '../support/logs.ts';
import { useNats } from '../support/nats.ts';

const nats = useNats('test');
let proxy: Proxy;

beforeEach(async () => {
  proxy = await Proxy.start(() => Number(new URL(nats.url).port));
});
afterEach(async () => {
  await closeReaders();
  await proxy.close();
});

const throughProxy = () => aReader(`nats://127.0.0.1:${proxy.port}`);

/** As many messages of this size, each of them one line that begins with its number. */
async function writeLarge(run: string, count: number, bytes: number): Promise<void> {
  const ref = refOf(run);
  for (let number = 0; number < count; number += 1) {
    const end = number === count - 1 ? 'exit 0' : undefined;
    await writeLog(nats.connection, ref, [line(`${number} ${'x'.repeat(bytes)}`)], end);
  }
}

const numbersTo = (count: number): number[] => Array.from({ length: count }, (_, number) => number);
const numberOf = (text: string): number => Number.parseInt(text, 10);
const linesOf = (text: string): string[] => text.split('\n').slice(0, -1);

it('gives the end of a log that was under way when the link broke', async () => {
  const run = aRun();
  await writeLarge(run, 40, 250_000);
  const numbers: number[] = [];
  for await (const chunk of throughProxy().read({ run, ranks: 1 })) {
    numbers.push(numberOf(textOf(chunk)));
    if (numbers.length !== 20) continue;
    // Time for the server to send what it has been asked for: from its point of view it is delivered.
    proxy.cut('silence');
    await sleep(500);
    proxy.cut('refuse');
    proxy.mend();
  }
  expect(numbers).toEqual(numbersTo(40));
}, 30_000);

it('gives all of a log to a pager, which lets nothing pass for a while and then blocks the whole process', async () => {
  const run = aRun();
  await writeLarge(run, 270, 400_000);
  const numbers: number[] = [];
  for await (const chunk of aReader(nats.url).read({ run, ranks: 1 })) {
    numbers.push(numberOf(textOf(chunk)));
    if (numbers.length === 1) await sleep(6_000);
    if (numbers.length !== 70) continue;
    await sleep(20);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_000);
  }
  expect(numbers).toEqual(numbersTo(270));
}, 60_000);

it('shows a log once and whole when NATS comes back with an older state, and the node writes the rest again', async () => {
  const run = aRun();
  const ref = refOf(run);
  const entries = (from: number, to: number): LogEntry[] =>
    numbersTo(to)
      .slice(from)
      .map((number) => line(String(number)));
  const follower = aFollower(aReader(nats.url), { run, ranks: 1 });
  for (let number = 0; number < 10; number += 1)
    await writeLog(nats.connection, ref, entries(number, number + 1));
  await follower.has('9\n');
  await nats.keepState();
  for (let number = 10; number < 20; number += 1)
    await writeLog(nats.connection, ref, entries(number, number + 1));
  await follower.has('19\n');
  await nats.goBack();
  // In fewer messages than before: their numbers in the stream are ones that the follower has passed.
  await writeLog(nats.connection, ref, entries(10, 18));
  await writeLog(nats.connection, ref, entries(18, 30), 'exit 0');
  await follower.has('29\n');
  follower.end();
  await follower.done;
  expect(linesOf(follower.text()).map(Number)).toEqual(numbersTo(30));
}, 60_000);

it('waits for a server that refuses it for a while', async () => {
  const run = aRun();
  await writeLog(nats.connection, refOf(run), [line('before')]);
  const follower = aFollower(aReader(nats.url), { run, ranks: 1 });
  await follower.has('before\n');
  await nats.restart(
    `jetstream { store_dir: "${nats.folder}" }\nauthorization { user: another, password: secret }`,
  );
  // Refused more than once, half a second apart.
  await sleep(2_000);
  await nats.restart(`jetstream { store_dir: "${nats.folder}" }`);
  await writeLog(nats.connection, refOf(run), [line('after')], 'exit 0');
  await follower.has('after\n');
  follower.end();
  await follower.done;
  expect(follower.text()).toBe('before\nafter\n');
}, 30_000);

it('ends with the run when no node has ever written a log', async () => {
  const run = aRun();
  const follower = aFollower(aReader(nats.url), { run, ranks: 2 });
  await sleep(500);
  follower.end();
  await follower.done;
  expect(follower.text()).toBe('');
});

it('says that it may not read a log, and waits for nothing', async () => {
  const run = aRun();
  await writeLog(nats.connection, refOf(run), [line('there')], 'exit 0');
  await nats.restart(`
    jetstream { store_dir: "${nats.folder}" }
    authorization { users: [{ user: guest, password: none, permissions: { publish: { deny: "$JS.API.CONSUMER.>" } } }] }
    no_auth_user: guest`);
  await (await nats.connect()).close();
  const follower = aFollower(aReader(nats.url), { run, ranks: 1 });
  await expect(follower.done).rejects.toThrow(/permissions violation/i);
}, 20_000);
