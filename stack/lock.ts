/**
 * A lock between processes that cannot be left behind: SQLite takes it as a lock of the operating system, which is gone
 * with the process that held it, however that ended.
 */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const RETRY_MS = 100;

export interface Lock {
  release(): void;
}

/**
 * Waits up to `waitMs` for the lock; `undefined` when another process still has it then. `onWait` is called once, when
 * it has to wait.
 */
export async function takeLock(
  file: string,
  { waitMs, onWait }: { readonly waitMs: number; readonly onWait?: () => void },
): Promise<Lock | undefined> {
  // Loaded here: the commands that find their stack up never need it.
  const { DatabaseSync } = await import('node:sqlite');
  mkdirSync(path.dirname(file), { recursive: true });
  const deadline = Date.now() + waitMs;
  let waited = false;
  for (;;) {
    const database = new DatabaseSync(file, { timeout: 0 });
    try {
      database.exec('BEGIN EXCLUSIVE');
      return { release: () => database.close() };
    } catch (error) {
      database.close();
      if (!/locked|busy/.test((error as Error).message)) throw error;
    }
    if (Date.now() >= deadline) return undefined;
    if (!waited) onWait?.();
    waited = true;
    await sleep(RETRY_MS);
  }
}
