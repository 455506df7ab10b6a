/** The agent's half of the guard: starts it, and starts it again when it dies. */
import { spawn } from 'node:child_process';
import { closeSync, fstatSync, ftruncateSync, openSync } from 'node:fs';
import { once } from 'node:events';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const RESTART_MS = 1_000;
/** For one that has left by itself, since the node has been cut off for so long that nothing is left to guard. */
const RETURN_MS = 5_000;

/** What came to an end long ago is not looked for here. */
const MAX_LOG_BYTES = 1_000_000;

/** The guard outlives this process, whose death is what it is for. Runs until `signal`. */
export async function keepGuard(stateDirectory: string, signal: AbortSignal): Promise<void> {
  const log = openLog(path.join(stateDirectory, 'guard.log'));
  try {
    while (!signal.aborted) {
      // One that can't be started is tried again, too.
      const code = await runGuard(stateDirectory, log ?? 'ignore', signal).catch(() => undefined);
      const pauseMs = code === 0 ? RETURN_MS : RESTART_MS;
      await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
    }
  } finally {
    if (log !== undefined) closeSync(log);
  }
}

/** @returns its exit code. @throws Error also when the machine has no room for another process */
async function runGuard(
  stateDirectory: string,
  log: number | 'ignore',
  signal: AbortSignal,
): Promise<number | null> {
  const program = fileURLToPath(new URL('node-guard.js', import.meta.url));
  const guard = spawn(process.execPath, [program, stateDirectory], {
    stdio: ['ignore', log, log],
    detached: true,
  });
  guard.unref();
  const [code] = (await once(guard, 'exit', { signal })) as [number | null];
  return code;
}

/** A guard without a log, on a full disk, is better than none. */
function openLog(file: string): number | undefined {
  try {
    const log = openSync(file, 'a', 0o600);
    if (fstatSync(log).size > MAX_LOG_BYTES) ftruncateSync(log);
    return log;
  } catch {
    return undefined;
  }
}
