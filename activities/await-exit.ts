/** Waiting for the end of a container, also while its daemon comes and goes. */
import { setTimeout as sleep } from 'node:timers/promises';
import { whileDockerIsAway } from './attached.ts';
import type { ContainerState, Docker } from './docker.ts';
import { DockerError } from './docker.ts';

/** A daemon that answers and hangs up at once is not hurried. */
const PAUSE_MS = 300;

/**
 * Resolves when the container does not run (any more); undefined when it is gone.
 * @param patienceMs how long the daemon may be away at a time.
 */
export async function awaitExit(
  docker: Docker,
  name: string,
  signal: AbortSignal,
  patienceMs?: () => number,
): Promise<ContainerState | undefined> {
  for (;;) {
    try {
      await docker.waitForExit(name, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof DockerError)) throw error;
      // Whatever the daemon said in going down or coming up, its next answer is the one that counts.
      await sleep(PAUSE_MS, undefined, { signal });
    }
    const state = await whileDockerIsAway(signal, () => docker.inspect(name), patienceMs);
    if (state?.status !== 'running') return state;
  }
}
