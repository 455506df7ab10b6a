/** Debian packages that tests need and that may be missing: installed when root runs the tests. */
import { execFile } from 'node:child_process';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { takeLock } from '../../stack/lock.ts';

const run = promisify(execFile);
const WAIT_MS = 240_000;
const INSTALL_TIMEOUT_MS = 180_000;

/** @throws Error with what to type where it cannot be installed. */
export async function installPackage(name: string): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error(`These tests need ${name}: sudo apt-get install ${name}`);
  // Test files run side by side, and apt has no patience with itself.
  const lock = await takeLock(path.join(tmpdir(), 'mcli-tests-apt.lock'), { waitMs: WAIT_MS });
  try {
    // The package lists of a fresh machine are empty or old; reading them anew takes most of the time.
    await aptGet('install', '-y', '-q', '--no-install-recommends', name).catch(async () => {
      await aptGet('update', '-q');
      await aptGet('install', '-y', '-q', '--no-install-recommends', name);
    });
  } finally {
    lock?.release();
  }
}

async function aptGet(...args: readonly string[]): Promise<void> {
  await run('apt-get', ['-o', 'DPkg::Lock::Timeout=60', ...args], {
    timeout: INSTALL_TIMEOUT_MS,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
}
