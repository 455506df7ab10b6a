/**
 * The guard of a node: a small process of its own, so that it acts while the agent is dead, frozen or cut off. When the
 * control plane has not heard of the node for the length of its lease, the runs of the node go on elsewhere; by then the
 * guard has stopped their containers here. It needs Docker and the lease file only, never the network.
 *
 * `node guard.js STATE-DIRECTORY`; started by the agent, and left behind by it on purpose.
 */
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Docker } from '../activities/docker.ts';
import { createDocker } from '../activities/docker.ts';
import { killStrayProcesses } from '../activities/stray-processes.ts';
import { containerNameOf, LABELS } from '../core/naming.ts';
import { readJson, writeJson } from '../stack/json-file.ts';
import { identify, signal } from '../stack/process-identity.ts';
import type { ProcessIdentity } from '../stack/process-identity.ts';
import type { NodeLease } from './node-lease.ts';
import { fencingTimes, leaseAgeMs, readLease } from './node-lease.ts';

const LOOK_MS = 1_000;
/** After this without an agent nothing is left to guard. */
const LEAVE_AFTER_LEASES = 2;

const [stateDirectory] = process.argv.slice(2);
if (stateDirectory === undefined) throw new Error('usage: guard.js STATE-DIRECTORY');
takeOver(path.join(stateDirectory, 'guard.json'));
await guard(stateDirectory);

/** The newest guard stays: it is of the newest build. On a full disk two stay, which does no harm; none would. */
function takeOver(file: string): void {
  try {
    const predecessor = readJson(file) as ProcessIdentity | undefined;
    if (predecessor) signal(predecessor, 'SIGTERM');
    writeJson(file, identify(process.pid));
  } catch (error) {
    console.error(`The guard could not take over from its predecessor: ${String(error)}`);
  }
}

async function guard(directory: string): Promise<void> {
  let told = new Set<string>();
  for (;;) {
    const lease = readLease(directory);
    if (lease) {
      const age = leaseAgeMs(lease);
      if (age < fencingTimes(lease.leaseMs).stopAtMs) told = new Set();
      else {
        // Docker is away, and maybe back at the next look.
        const left = await fence(lease, told).catch((error: unknown) => console.error(String(error)));
        if (left === 0 && age > LEAVE_AFTER_LEASES * lease.leaseMs) return;
      }
    }
    await sleep(LOOK_MS);
  }
}

/**
 * SIGTERM once, and SIGKILL when the lease is nearly over.
 * @returns how many containers ran
 */
async function fence(lease: NodeLease, told: Set<string>): Promise<number> {
  const docker = createDocker(lease.dockerHost);
  const kill = leaseAgeMs(lease) >= fencingTimes(lease.leaseMs).killAtMs;
  let running = 0;
  for (const name of await containers(docker, lease)) {
    const state = await docker.inspect(name);
    if (state?.status !== 'running') {
      if (state) await killStrayProcesses(state.id).catch((error: unknown) => console.error(String(error)));
      continue;
    }
    running += 1;
    if (!kill && told.has(name)) continue;
    console.error(
      `${name}: ${kill ? 'SIGKILL' : 'SIGTERM'}, since the control plane has not heard of this node for ` +
        `${Math.round(leaseAgeMs(lease) / 1000)} s of its lease of ${lease.leaseMs / 1000} s`,
    );
    await docker.kill(name, kill ? 'SIGKILL' : 'SIGTERM');
    told.add(name);
  }
  return running;
}

async function containers(docker: Docker, { place }: NodeLease): Promise<string[]> {
  const found = await docker.list({
    [LABELS.controlPlane]: place.controlPlane,
    [LABELS.cluster]: place.cluster,
    [LABELS.node]: place.node,
  });
  return found.map(containerNameOf);
}
