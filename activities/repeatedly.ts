/** The pace of everything that an agent looks after. */
import { setTimeout as sleep } from 'node:timers/promises';

/** Takes a step at once, and again `intervalMs` after each; ends with `signal`. The step says itself what goes wrong. */
export async function repeatedly(
  intervalMs: number,
  signal: AbortSignal,
  step: () => Promise<unknown>,
): Promise<void> {
  while (!signal.aborted) {
    await step();
    await sleep(intervalMs, undefined, { signal }).catch(() => undefined);
  }
}
