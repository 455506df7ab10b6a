/** Servers that are away are waited for. */
import { setTimeout as sleep } from 'node:timers/promises';

export const RETRY_MS = 500;

/** Tries until it works, and says once what it waits for. */
export async function patiently<T>(whom: string, step: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await step();
    } catch (error) {
      if (attempt === 0) console.error(`Waiting for ${whom}: ${String(error)}`);
      await sleep(RETRY_MS);
    }
  }
}
