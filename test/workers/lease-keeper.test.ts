import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { createLeaseKeeper } from '../../workers/lease-keeper.ts';
import type { LeaseKeeper } from '../../workers/lease-keeper.ts';
import { uptimeMs } from '../../workers/node-lease.ts';

const run = promisify(execFile);

let stateDirectory: string;

beforeEach(async () => {
  stateDirectory = await mkdtemp(path.join(tmpdir(), 'mcli-test-lease-'));
});
afterEach(async () => {
  vi.restoreAllMocks();
  // The file of the lease stays open.
  await run('umount', ['--lazy', stateDirectory]).catch(() => undefined);
  await rm(stateDirectory, { recursive: true });
});

/** Puts a small, full disk in the place of a folder. Needs root. */
async function fillDisk(folder: string): Promise<void> {
  await run('mount', ['-t', 'tmpfs', '-o', 'size=4k', 'mcli-test', folder]);
  await writeFile(path.join(folder, 'filler'), Buffer.alloc(4_096));
}

function aLeaseKeeper(leaseMs: number | null = 300_000): LeaseKeeper {
  const node = { leaseMs, stateDirectory, cluster: 'r1z1', node: 'node-0', dockerHost: undefined };
  return createLeaseKeeper(node, 'test');
}

describe('the lease of a node', () => {
  it('lets runs start only when it was renewed a short time ago', async () => {
    const lease = aLeaseKeeper();
    const started = vi.fn<() => void>();
    const start = lease.untilFresh(new AbortController().signal).then(started);
    expect(lease.mayBeLost()).toBe(true);
    lease.renew(uptimeMs() - 299_000);
    await sleep(400);
    expect(started).not.toHaveBeenCalled();
    lease.renew(uptimeMs());
    await start;
    expect(lease.mayBeLost()).toBe(false);
  });

  it('says once that it cannot be written, and keeps no run waiting for ever', async () => {
    const said = vi.spyOn(console, 'error').mockReturnValue();
    await fillDisk(stateDirectory);
    const lease = aLeaseKeeper();
    lease.renew(uptimeMs());
    lease.renew(uptimeMs());
    expect(said).toHaveBeenCalledOnce();
    expect(lease.error()).toContain('ENOSPC');
    const start = lease.untilFresh(new AbortController().signal);
    vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 61_000);
    await expect(start).rejects.toThrow(/lease of node-0 is not renewed: ENOSPC/);
  });

  it('has no guard any more where runs are never given away from now on', async () => {
    aLeaseKeeper().renew(uptimeMs());
    const program = path.resolve(import.meta.dirname, '../../workers/guard.ts');
    const guard = spawn(process.execPath, [program, stateDirectory], { stdio: 'ignore' });
    onTestFinished(() => void guard.kill('SIGKILL'));
    const ended = once(guard, 'exit');
    await expect.poll(() => readdir(stateDirectory), { timeout: 10_000 }).toContain('guard.json');
    const keeping = aLeaseKeeper(null);
    // The control plane may not know yet that it shall wait for this node.
    expect(await readdir(stateDirectory)).toContain('lease.json');
    keeping.renew(uptimeMs());
    await ended;
    expect(await readdir(stateDirectory)).toEqual(['guard.json']);
  });

  it('does not outlive a restart of the machine', async () => {
    const lease = aLeaseKeeper();
    const file = path.join(stateDirectory, 'lease.json');
    lease.renew(uptimeMs());
    expect([lease.isFresh(), lease.mayBeLost()]).toEqual([true, false]);
    const ofThisStart = JSON.parse(await readFile(file, 'utf8')) as object;
    await writeFile(file, JSON.stringify({ ...ofThisStart, boot: 'earlier' }));
    expect([lease.isFresh(), lease.mayBeLost()]).toEqual([false, true]);
    // Of a clock that began anew with the same name: that of a machine in a container.
    await writeFile(file, JSON.stringify({ ...ofThisStart, renewedAt: uptimeMs() + 3_600_000 }));
    expect([lease.isFresh(), lease.mayBeLost()]).toEqual([false, true]);
  });

  it('counts as it was until the control plane knows that runs are no longer given away', () => {
    aLeaseKeeper().renew(uptimeMs() - 299_000);
    const lease = aLeaseKeeper(null);
    expect([lease.isFresh(), lease.mayBeLost()]).toEqual([false, true]);
    lease.renew(uptimeMs());
    expect([lease.isFresh(), lease.mayBeLost()]).toEqual([true, false]);
  });

  it('covers everything where runs are never given away', async () => {
    const lease = aLeaseKeeper(null);
    await lease.untilFresh(new AbortController().signal);
    expect(lease.mayBeLost()).toBe(false);
  });
});
