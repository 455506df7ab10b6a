/** SIGTERM, grace, SIGKILL. */
import { whileDockerIsAway } from './attached.ts';
import { awaitExit } from './await-exit.ts';
import type { ContainerStop } from './contract.ts';
import type { Docker } from './docker.ts';
import { endStrayProcesses } from './stray-processes.ts';

/** Longer than the first processes of a container need to be ready for signals, also on a busy machine. */
const STARTING_MS = 2_000;
const REPEAT_MS = 250;

/** Returns only when the container is proven gone. Two stops of one container may overlap. */
export async function stopContainer(docker: Docker, name: string, graceMs: number): Promise<ContainerStop> {
  const orderedAt = performance.now();
  const state = await whileDockerIsAway(undefined, () => docker.inspect(name));
  if (state?.status !== 'running') {
    if (state) await endStrayProcesses(state.id);
    return { endedBy: 'not-running' };
  }
  const ended = (endedBy: ContainerStop['endedBy']): ContainerStop => ({
    endedBy,
    afterMs: Math.round(performance.now() - orderedAt),
  });
  // Signals wait while a container is paused.
  if (state.paused) await whileDockerIsAway(undefined, () => docker.unpause(name));

  const tell = (): Promise<void> => whileDockerIsAway(undefined, () => docker.kill(name, 'SIGTERM'));
  await tell();
  // Docker may have taken its time to pass the order on: the grace is the program's.
  const graceEnd = performance.now() + graceMs;
  const grownUp = Math.min(graceEnd, performance.now() + untilGrownUp(state.startedAt));
  // The kernel drops a signal that comes before the container's first process has asked for it; the entry script
  // hands on only one, however many come.
  while (performance.now() < grownUp) {
    if (await endsUntil(docker, name, Math.min(graceEnd, performance.now() + REPEAT_MS)))
      return ended('SIGTERM');
    await tell();
  }
  if (await endsUntil(docker, name, graceEnd)) return ended('SIGTERM');

  await whileDockerIsAway(undefined, () => docker.kill(name, 'SIGKILL'));
  // No limit: a process that the kernel can't end yet still holds its GPUs.
  await awaitExit(docker, name, new AbortController().signal);
  return ended('SIGKILL');
}

/** In milliseconds; never more than a start takes, whatever the clock was set to meanwhile. */
function untilGrownUp(startedAt: string): number {
  return Math.min(STARTING_MS, Date.parse(startedAt) + STARTING_MS - Date.now());
}

/** @param deadline as `performance.now` tells it */
async function endsUntil(docker: Docker, name: string, deadline: number): Promise<boolean> {
  const limit = AbortSignal.timeout(Math.max(0, Math.ceil(deadline - performance.now())));
  try {
    await awaitExit(docker, name, limit);
    return true;
  } catch (error) {
    if (limit.aborted) return false;
    throw error;
  }
}
