/** Ends processes in the given order: SIGTERM, a while to finish, SIGKILL. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ProcessIdentity } from './process-identity.ts';
import { isAlive, signal } from './process-identity.ts';

/** Workers finish what they do; a node agent only lets go of its containers. */
const GRACE_MS = 12_000;
const CHECK_MS = 50;

/** All get the signal at once. Returns when none is left. */
export async function stopProcesses(processes: readonly ProcessIdentity[]): Promise<void> {
  for (const known of processes) signal(known, 'SIGTERM');
  if (await allGone(processes, GRACE_MS)) return;
  for (const known of processes) signal(known, 'SIGKILL');
  await allGone(processes, GRACE_MS);
}

async function allGone(processes: readonly ProcessIdentity[], withinMs: number): Promise<boolean> {
  const deadline = Date.now() + withinMs;
  while (processes.some((known) => isAlive(known))) {
    if (Date.now() > deadline) return false;
    await sleep(CHECK_MS);
  }
  return true;
}
