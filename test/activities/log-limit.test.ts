/** What limits a log, what it says then, and what is masked in it: with real containers and a real NATS. */
import { appendFile, stat } from 'node:fs/promises';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { ContainerLogs } from '../../activities/container-logs.ts';
import { createLogStream } from '../../activities/log-stream.ts';
import type { Docker } from '../../activities/docker.ts';
import type { RankRef } from '../../core/naming.ts';
import { containerName } from '../../core/naming.ts';
import { aLoggedRank, aLogShipper, docker, eventually, shippedLog } from '../support/docker.ts';
import { useNats } from '../support/nats.ts';

const LIMIT = 1_048_576;
const SECRET = 'correct-horse-battery-staple';

const nats = useNats();

const aLimitedRank = (command: string, maxBytes = LIMIT) => aLoggedRank(command, maxBytes);
const logFileOf = (id: string): string => `/var/lib/docker/containers/${id}/local-logs/container.log`;
const shipper = (secrets: readonly string[] = [], maxBytes = LIMIT): ContainerLogs =>
  aLogShipper(nats.connection, { secretsOf: () => Promise.resolve(secrets), maxBytes });
const exited = (rank: RankRef) => docker.waitForExit(containerName(rank), new AbortController().signal);

describe('a log that reaches its limit', () => {
  it('says so in its last line, and keeps nothing behind it', async () => {
    const rank = await aLimitedRank('seq 1 100000');
    await shipper().close(rank, 'exit 0');
    const { text, ends } = await shippedLog(nats.connection, rank);
    const lines = text.split('\n');
    expect(lines.slice(-2)).toEqual([
      '[mcli] This log reached its limit of 1 MB (MCLI_NODE_LOG_LIMIT_MB); what the run prints from here on is not kept.',
      '',
    ]);
    const kept = lines.slice(0, -2);
    expect(kept).toEqual(kept.map((_, index) => String(index + 1)));
    // Short lines count with what Docker stores beside them.
    expect(text.length + 32 * lines.length).toBeGreaterThan(0.9 * LIMIT);
    expect(text.length + 32 * lines.length).toBeLessThan(1.1 * LIMIT);
    expect(ends).toEqual(['exit 0']);
  });

  it('says it on a line of its own, and once, whoever looks again', async () => {
    const rank = await aLimitedRank('head -c 4000000 /dev/zero | tr "\\0" x; echo; sleep 600');
    shipper().follow(rank);
    await eventually(
      () => shippedLog(nats.connection, rank).catch(() => undefined),
      (log) => log?.text.includes('not kept') === true,
    );
    await docker.kill(containerName(rank), 'SIGKILL');
    await Promise.all([shipper().close(rank, 'a'), shipper([], 4 * LIMIT).close(rank, 'b')]);
    const { text, ends } = await shippedLog(nats.connection, rank);
    expect(text).toMatch(/^x{1000000,}\n\[mcli] This log reached its limit of .* is not kept\.\n$/);
    expect(ends).toHaveLength(1);
  });

  it('has a file at Docker that stays within bounds, and says when its beginning went there unread', async () => {
    const rank = await aLimitedRank('seq 1 400000');
    await exited(rank);
    // What an agent has left that read the beginning, and was away when Docker gave it up.
    const bytes = Buffer.from('first, which goes on');
    const stream = createLogStream(Promise.resolve(nats.connection));
    const begun = { ...(await stream.position(rank)), startNs: 1n };
    await stream.append(rank, begun, { entries: [{ stream: 'stdout', timeNs: 1n, bytes }] });
    await shipper().close(rank, 'exit 0');
    const { text } = await shippedLog(nats.connection, rank);
    expect(text).toMatch(/^first, which goes on\n\[mcli] Lines are missing here: .*\n$/);
    let left = 0;
    for await (const chunk of await docker.logs(containerName(rank))) left += (chunk as Buffer).length;
    expect(left).toBeLessThan(10_000_000);
  }, 60_000);
});

describe('a log that NATS does not take', () => {
  it('is read no further than memory may hold, and is whole in the end', async () => {
    const count = 300_000;
    const rank = await aLimitedRank(`echo 0; sleep 0.5; seq 1 ${count}`, 1024 ** 3);
    let bytesRead = 0;
    const counting: Docker = {
      ...docker,
      async logs(name, tail) {
        const counter = new PassThrough();
        counter.on('data', (chunk: Buffer) => (bytesRead += chunk.length)).pause();
        return (await docker.logs(name, tail)).pipe(counter);
      },
    };
    const agent = aLogShipper(nats.connection, { docker: counting });
    agent.follow(rank);
    await eventually(
      () => shippedLog(nats.connection, rank).catch(() => undefined),
      (log) => log?.text === '0\n',
    );
    await nats.kill();
    await exited(rank);
    let before = -1;
    await eventually(
      async () => {
        before = bytesRead;
        await sleep(300);
        return bytesRead;
      },
      (now) => now === before && now > 1_000_000,
    );
    // Docker puts 39 bytes around each of these lines.
    expect(bytesRead).toBeLessThan(10_000_000);
    await nats.start();
    await agent.close(rank, 'exit 0');
    const { text } = await shippedLog(nats.connection, rank);
    expect(text === Array.from({ length: count + 1 }, (_, index) => `${index}\n`).join('')).toBe(true);
  }, 60_000);
});

describe('a log whose file at Docker is damaged', () => {
  it('says that lines are missing, and the run ends all the same', async () => {
    const rank = await aLimitedRank('echo before; sleep 1; echo behind');
    const { id } = (await docker.inspect(containerName(rank))) ?? { id: '' };
    await eventually(
      async () => (await stat(logFileOf(id)).catch(() => undefined))?.size ?? 0,
      (size) => size > 0,
    );
    // As a write that a full disk has cut short leaves it.
    await appendFile(logFileOf(id), Buffer.from('\0\0\0\x30\x0a\x06stdou', 'latin1'));
    await exited(rank);
    await shipper().close(rank, 'exit 0');
    const { text, ends } = await shippedLog(nats.connection, rank);
    expect(text).toMatch(/^before\n\[mcli] Lines are missing here: Docker cannot read the rest .*\n$/);
    expect(ends).toEqual(['exit 0']);
  });
});

describe('secrets in a log', () => {
  it('are masked alike by an agent that reads the log again', async () => {
    const padding = 'x'.repeat(16_384 - 10);
    const rank = await aLimitedRank(
      `echo "token=${SECRET}"; printf '%s' ${SECRET} | base64; sleep 0.5
       printf '%s' ${padding}${SECRET}; sleep 600 & wait`,
      1024 ** 3,
    );
    const first = shipper([SECRET], 1024 ** 3);
    first.follow(rank);
    await eventually(
      () => shippedLog(nats.connection, rank).catch(() => undefined),
      (log) => (log?.entries.length ?? 0) > 2,
    );
    await docker.kill(containerName(rank), 'SIGKILL');
    await Promise.all([first.close(rank, 'a'), shipper([SECRET], 1024 ** 3).close(rank, 'b')]);
    const { text, ends } = await shippedLog(nats.connection, rank);
    expect(text.replace(padding, '<padding>')).toMatch(/^token=\*\*\*\n\*\*\*.{0,2}=*\n<padding>\*\*\*\n?$/);
    expect(ends).toHaveLength(1);
  });

  it('that nobody can tell any more let nothing through', async () => {
    const rank = await aLimitedRank(`echo ${SECRET}`);
    const secretsOf = () => Promise.resolve(undefined);
    await aLogShipper(nats.connection, { secretsOf }).close(rank, 'exit 0');
    const { entries, text, ends } = await shippedLog(nats.connection, rank);
    expect(text).toMatch(/^\[mcli] Lines are missing here: the secrets .*\n$/);
    // Else it would stand before all that other ranks have printed.
    expect(Number((entries[0]?.timeNs ?? 0n) / 1_000_000n)).toBeGreaterThan(Date.now() - 60_000);
    expect(ends).toEqual(['exit 0']);
  });

  it('that the agent cannot look for let nothing through, and end the log of no other run', async () => {
    const rank = await aLimitedRank(`echo ${SECRET}`);
    // As after something else than a list of texts was read.
    const broken = shipper([7 as unknown as string]);
    broken.follow(rank);
    await broken.close(rank, 'exit 0');
    const { text, ends } = await shippedLog(nats.connection, rank);
    expect(text).toMatch(/^\[mcli] Lines are missing here: the secrets .* too much .*\n$/);
    expect(ends).toEqual(['exit 0']);
  });

  it('are waited for: nothing is shipped before they are known', async () => {
    const rank = await aLimitedRank(`echo ${SECRET}`);
    const known = Promise.withResolvers<readonly string[]>();
    let asked = 0;
    const agent = aLogShipper(nats.connection, {
      secretsOf() {
        asked += 1;
        return asked === 1 ? Promise.reject(new Error('not yet')) : known.promise;
      },
    });
    const closed = agent.close(rank, 'exit 0');
    await eventually(
      () => Promise.resolve(asked),
      (count) => count === 2,
    );
    expect((await shippedLog(nats.connection, rank)).entries).toEqual([]);
    known.resolve([SECRET]);
    await closed;
    expect((await shippedLog(nats.connection, rank)).text).toBe('***\n');
  });
});
