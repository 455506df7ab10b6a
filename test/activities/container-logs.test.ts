import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import type { RankExecution } from '../../activities/contract.ts';
import { DockerLogFrames } from '../../activities/docker-log-frames.ts';
import {
  anAgent,
  anAttempt,
  aRankToRun,
  containerOf,
  eventually,
  shippedLog,
  shutDown,
} from '../support/docker.ts';
import { useNats } from '../support/nats.ts';

const nats = useNats();

const agent = () => anAgent(nats.connection);
const run = (rank: RankExecution) => anAttempt().run(agent().execute, rank);
const remove = (rank: RankExecution) => anAttempt().run(agent()['remove-container'], rank);
const logOf = (rank: RankExecution) => shippedLog(nats.connection, rank).catch(() => undefined);

it('keeps bytes that are no text, carriage returns and lines of any length as they were written', async () => {
  const rank = aRankToRun(
    String.raw`printf 'a\0b\xff\xfe\r10%%\r20%%\n'; for n in 16383 16384 16385 100000; do head -c $n /dev/zero | tr '\0' x; echo; done; printf end`,
  );
  await run(rank);
  await remove(rank);
  const { entries } = await shippedLog(nats.connection, rank);
  const bytes = Buffer.concat(entries.map((entry) => entry.bytes));
  expect(bytes.subarray(0, 14).toString('latin1')).toBe('a\0b\xff\xfe\r10%\r20%\n');
  const lines = bytes.subarray(14).toString().split('\n');
  expect(lines.map((line) => line.length)).toEqual([16_383, 16_384, 16_385, 100_000, 3]);
});

it('shows a line while the program runs, soon after it was written', async () => {
  const rank = aRankToRun('for i in 1 2 3 4 5; do echo $i; sleep 0.3; done');
  const running = run(rank);
  const log = await eventually(
    () => logOf(rank),
    (shipped) => shipped?.text.startsWith('1\n2\n') === true,
  );
  expect(log?.text).not.toContain('5');
  const delayMs = Date.now() - Number((log?.entries[1]?.timeNs ?? 0n) / 1_000_000n);
  // The aim is 300 ms; the machine that tests may be busy with others.
  expect(delayMs).toBeLessThan(1_000);
  await running;
});

it('ships every entry once when agents come and go and two of them follow the same log', async () => {
  const count = 20_000;
  const rank = aRankToRun(`for ((i = 0; i < ${count}; i++)); do echo "line $i"; done`);
  const first = anAttempt();
  const outcome = first.run(agent().execute, rank).catch((error: unknown) => error);
  await eventually(
    () => logOf(rank),
    (log) => (log?.entries.length ?? 0) > 0,
  );
  // This agent's shipper goes on in this process: to the next it is one that did not notice that it was replaced.
  shutDown(first);
  await outcome;
  await Promise.all([run(rank), run(rank)]);
  await remove(rank);
  const { text, ends } = await shippedLog(nats.connection, rank);
  expect(ends).toHaveLength(1);
  expect(text).toBe(Array.from({ length: count }, (_, index) => `line ${index}\n`).join(''));
}, 60_000);

it('loses and doubles nothing when NATS is killed and started again', async () => {
  const rank = aRankToRun('for i in {1..400}; do echo "line $i"; sleep 0.01; done');
  // One and the same: two would both end the log, each with a reason of its own, and either might be first.
  const only = agent();
  const running = anAttempt().run(only.execute, rank);
  await eventually(
    () => logOf(rank),
    (log) => (log?.entries.length ?? 0) > 20,
  );
  await nats.kill();
  await eventually(
    () => containerOf(rank),
    (state) => state?.status === 'exited',
  );
  // The outcome of the run does not wait for the log.
  expect(await running).toMatchObject({ exitCode: 0 });
  const removed = anAttempt().run(only['remove-container'], rank);
  await nats.start();
  await removed;
  const { text, ends } = await shippedLog(nats.connection, rank);
  expect(text).toBe(Array.from({ length: 400 }, (_, index) => `line ${index + 1}\n`).join(''));
  expect(ends).toEqual(['exit 0']);
}, 60_000);

it('takes a burst of lines without loss', async () => {
  const rank = aRankToRun('seq 1 200000');
  await run(rank);
  await remove(rank);
  const { text, entries } = await shippedLog(nats.connection, rank);
  expect(entries).toHaveLength(200_000);
  const expected = Array.from({ length: 200_000 }, (_, index) => `${index + 1}\n`).join('');
  const digest = (content: string) => createHash('sha256').update(content).digest('hex');
  expect(digest(text)).toBe(digest(expected));
}, 60_000);

it('closes the log of a run whose container never came to be', async () => {
  const rank = aRankToRun('true');
  await remove(rank);
  expect(await shippedLog(nats.connection, rank)).toMatchObject({ entries: [], ends: ['removed'] });
});

function frame(stream: number, payload: string, time = '2026-11-23T17:59:12.265640668Z '): Buffer {
  const body = Buffer.from(`${time}${payload}`);
  const header = Buffer.from([stream, 0, 0, 0, 0, 0, 0, 0]);
  header.writeUInt32BE(body.length, 4);
  return Buffer.concat([header, body]);
}

it('reads frames that are cut anywhere', () => {
  const whole = Buffer.concat([frame(1, 'one two\n'), frame(2, ''), frame(1, 'three')]);
  for (let size = 1; size <= whole.length; size += 1) {
    const frames = new DockerLogFrames();
    const entries = [];
    for (let at = 0; at < whole.length; at += size)
      entries.push(...frames.push(whole.subarray(at, at + size)));
    expect(entries.map(({ stream, bytes }) => [stream, Buffer.from(bytes).toString()])).toEqual([
      ['stdout', 'one two\n'],
      ['stderr', ''],
      ['stdout', 'three'],
    ]);
    expect(entries[0]?.timeNs).toBe(1_795_456_752_265_640_668n);
  }
});

it('reads all that stands in front of a place that Docker cannot read', () => {
  const torn = frame(3, 'Error grabbing logs: log message is too large (168194932 > 1000000)\n', '');
  const read: string[] = [];
  const readAll = (): void => {
    const frames = new DockerLogFrames();
    const chunk = Buffer.concat([frame(1, 'one\n'), frame(1, 'two\n'), torn]);
    for (const { bytes } of frames.push(chunk)) read.push(Buffer.from(bytes).toString());
  };
  expect(readAll).toThrow('Error grabbing logs: log message is too large');
  expect(read).toEqual(['one\n', 'two\n']);
});
