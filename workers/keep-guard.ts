/** The agent's half of the guard: starts it, and starts it again when it dies. */
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { once } from 'node:events';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const RESTART_MS = 1_000;

/** The guard outlives this process, whose death is what it is for. Runs until `signal`. */
export async function keepGuard(stateDirectory: string, signal: AbortSignal): Promise<void> {
  const program = fileURLToPath(new URL('node-guard.js', import.meta.url));
  const log = openSync(path.join(stateDirectory, 'guard.log'), 'a', 0o600);
  try {
    while (!signal.aborted) {
      const guard = spawn(process.execPath, [program, stateDirectory], {
        stdio: ['ignore', log, log],
        detached: true,
      });
      guard.unref();
      // A process that can't be started is an error event, and tried again.
      await once(guard, 'exit', { signal }).catch(() => undefined);
      await sleep(RESTART_MS, undefined, { signal }).catch(() => undefined);
    }
  } finally {
    closeSync(log);
  }
}
