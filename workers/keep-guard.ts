/** The agent's half of the guard: starts it, and starts it again when it dies. */
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { once } from 'node:events';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const RESTART_MS = 1_000;
/** For one that has left by itself, since the node has been cut off for so long that nothing is left to guard. */
const RETURN_MS = 5_000;

/** The guard outlives this process, whose death is what it is for. Runs until `signal`. */
export async function keepGuard(stateDirectory: string, signal: AbortSignal): Promise<void> {
  const program = fileURLToPath(new URL('node-guard.js', import.meta.url));
  const log = openLog(path.join(stateDirectory, 'guard.log'));
  try {
    while (!signal.aborted) {
      const guard = spawn(process.execPath, [program, stateDirectory], {
        stdio: ['ignore', log ?? 'ignore', log ?? 'ignore'],
        detached: true,
      });
      guard.unref();
      // A process that can't be started is an error event, and tried again.
      const [code] = await once(guard, 'exit', { signal }).catch(() => [undefined]);
      const pauseMs = code === 0 ? RETURN_MS : RESTART_MS;
      await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
    }
  } finally {
    if (log !== undefined) closeSync(log);
  }
}

/** A guard without a log, on a full disk, is better than none. */
function openLog(file: string): number | undefined {
  try {
    return openSync(file, 'a', 0o600);
  } catch {
    return undefined;
  }
}
