/**
 * Processes of a container that Docker holds to be stopped. A daemon that is killed between the start of a program and
 * its own note of it forgets the program: it runs on, with its GPUs, also after `docker rm`. The kernel still knows
 * which container it belongs to, by its control group.
 */
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

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
  // Where there is no such folder, Docker runs on another machine, as on a Mac.
  const pids = (await readdir('/proc').catch(() => [])).map(Number).filter(Number.isInteger);
  const isMember = await Promise.all(
    pids.map(async (pid) => (await about(pid, 'cgroup')).includes(containerId) && (await isRunning(pid))),
  );
  return pids.filter((_, index) => isMember[index]);
}

/** Of one that has ended, the kernel may keep the exit code for somebody who never asks, but no arguments. */
async function isRunning(pid: number): Promise<boolean> {
  return (await about(pid, 'cmdline')) !== '';
}

/** Empty when it has ended meanwhile. */
async function about(pid: number, file: 'cgroup' | 'cmdline'): Promise<string> {
  return await readFile(`/proc/${pid}/${file}`, 'latin1').catch(() => '');
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
