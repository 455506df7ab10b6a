/**
 * Processes of a container that Docker holds to be stopped. A daemon that is killed between the start of a program and
 * its own note of it forgets the program: it runs on, with its GPUs, also after `docker rm`. The kernel still knows
 * which container it belongs to, by its control group.
 */
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { identify } from '../stack/process-identity.ts';

const LOOK_AGAIN_MS = 50;

/**
 * Returns when none is left, however long the kernel takes: one that it can't end yet still holds its GPUs.
 * @throws Error as `killStrayProcesses` does
 */
export async function endStrayProcesses(containerId: string): Promise<void> {
  while ((await killStrayProcesses(containerId)) > 0) await sleep(LOOK_AGAIN_MS);
}

/**
 * Sees the processes of this machine only.
 * @returns how many there were; they may need a moment to end.
 * @throws Error when this process may not kill one
 */
export async function killStrayProcesses(containerId: string): Promise<number> {
  const strays = await processesOf(containerId);
  for (const pid of strays) kill(pid, containerId);
  return strays.length;
}

/** Pids on this machine of what runs in a container, whatever Docker says. */
export async function processesOf(containerId: string): Promise<number[]> {
  const names = await readdir('/proc').catch(() => []);
  const pids = names.map(Number).filter(Number.isInteger);
  const groups = await Promise.all(pids.map((pid) => controlGroups(pid)));
  // Of one that has ended, the kernel may keep the exit code for somebody who never asks.
  return pids.filter((pid, index) => groups[index]?.includes(containerId) && identify(pid) !== undefined);
}

async function controlGroups(pid: number): Promise<string> {
  return await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => '');
}

function kill(pid: number, containerId: string): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return;
    throw new Error(
      `Process ${pid} of container ${containerId} runs on unknown to Docker, and could not be killed.`,
      { cause: error },
    );
  }
}
