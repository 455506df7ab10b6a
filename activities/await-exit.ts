/** Waiting for the end of a container, also while its daemon comes and goes. */
import { setTimeout as sleep } from 'node:timers/promises';
import { whileDockerIsAway } from './attached.ts';
import type { DockerPatience } from './attached.ts';
import type { ContainerState, Docker } from './docker.ts';
import { DockerError } from './docker-requests.ts';

/** A daemon that answers and hangs up at once is not hurried. */
const PAUSE_MS = 300;
/** How long the daemon's word is waited for before it is asked: one that was killed may forget who waits. */
const ASK_AGAIN_MS = { first: 500, most: 10_000 };

/** Resolves when the container does not run (any more); undefined when it is gone. */
export async function awaitExit(
  docker: Docker,
  name: string,
  signal: AbortSignal,
  patience?: DockerPatience,
): Promise<ContainerState | undefined> {
  let waitMs = ASK_AGAIN_MS.most;
  for (;;) {
    const limit = AbortSignal.timeout(waitMs);
    waitMs = Math.min(2 * waitMs, ASK_AGAIN_MS.most);
    try {
      await docker.waitForExit(name, AbortSignal.any([signal, limit]));
    } catch (error) {
      signal.throwIfAborted();
      if (!limit.aborted) {
        if (!(error instanceof DockerError)) throw error;
        // Whatever the daemon said in going down or coming up, its next answer is the one that counts.
        await sleep(PAUSE_MS, undefined, { signal });
        waitMs = ASK_AGAIN_MS.first;
      }
    }
    const state = await whileDockerIsAway(signal, () => docker.inspect(name), patience);
    if (state?.status !== 'running') return state;
  }
}
