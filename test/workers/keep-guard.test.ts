import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { keepGuard } from '../../workers/keep-guard.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'mcli-test-keep-'));
});
afterEach(() => rm(folder, { recursive: true }));

describe('an agent', () => {
  it('goes on where its guard cannot be started', async () => {
    const { execPath } = process;
    onTestFinished(() => void (process.execPath = execPath));
    // Not an error event of the process, but an exception.
    process.execPath = '/dev/null/node';
    const closing = new AbortController();
    const keeping = keepGuard(folder, closing.signal);
    await Promise.race([keeping, sleep(100)]);
    closing.abort();
    await keeping;
  });

  it('lets the log of its guards grow to a limit only', async () => {
    const log = path.join(folder, 'guard.log');
    await writeFile(log, Buffer.alloc(500_000));
    await keepGuard(folder, AbortSignal.abort());
    expect((await stat(log)).size).toBe(500_000);
    await writeFile(log, Buffer.alloc(2_000_000));
    await keepGuard(folder, AbortSignal.abort());
    expect((await stat(log)).size).toBe(0);
  });
});
