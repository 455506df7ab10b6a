/** SIGTERM, grace, SIGKILL. */
import { whileDockerIsAway } from './attached.ts';
import type { ContainerStop } from './contract.ts';
import type { Docker } from './docker.ts';

/** Longer than the first processes of a container need to be ready for signals, also on a busy machine. */
const STARTING_MS = 1_500;

/** Returns only when the container is proven gone. Two stops of one container may overlap. */
export async function stopContainer(docker: Docker, name: string, graceMs: number): Promise<ContainerStop> {
  return whileDockerIsAway(undefined, async () => {
    const state = await docker.inspect(name);
    if (state?.status !== 'running') return { endedBy: 'not-running' };
    await docker.kill(name, 'SIGTERM');
    // The kernel drops a signal that comes before the container's first process has asked for it.
    const young = Date.now() - Date.parse(state.startedAt) < STARTING_MS;
    if (young && !(await endsWithin(docker, name, STARTING_MS))) await docker.kill(name, 'SIGTERM');
    if (await endsWithin(docker, name, graceMs)) return { endedBy: 'SIGTERM' };
    await docker.kill(name, 'SIGKILL');
    // No limit: a process that the kernel can't end yet still holds its GPUs.
    await docker.waitForExit(name, new AbortController().signal);
    return { endedBy: 'SIGKILL' };
  });
}

async function endsWithin(docker: Docker, name: string, graceMs: number): Promise<boolean> {
  const grace = AbortSignal.timeout(graceMs);
  try {
    await docker.waitForExit(name, grace);
    return true;
  } catch (error) {
    if (grace.aborted) return false;
    throw error;
  }
}
