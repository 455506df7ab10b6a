/**
 * The guard of a node: a small process of its own, so that it acts while the agent is dead, frozen or cut off. When the
 * control plane has not heard of the node for the length of its lease, the runs of the node go on elsewhere; by then the
 * guard has stopped their containers here. It needs Docker and the lease file only, never the network.
 *
 * `node guard.js STATE-DIRECTORY`; started by the agent, and left behind by it on purpose.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Docker } from '../activities/docker.ts';
import { createDocker } from '../activities/docker.ts';
import { killStrayProcesses } from '../activities/stray-processes.ts';
import { containerNameOf, labelsOfNode } from '../core/naming.ts';
import { becomeGuard, hasSuccessor } from './guard-identity.ts';
import type { NodeLease } from './node-lease.ts';
import { fencingTimes, hasLease, leaseAgeMs, readLease } from './node-lease.ts';

const LOOK_MS = 1_000;
/** After this without an agent nothing is left to guard. */
const LEAVE_AFTER_LEASES = 2;

async function guard(directory: string): Promise<void> {
  let fence = new Fence(directory);
  // Without the file, the agent wants no guard any more, or keeps its state elsewhere.
  while (hasLease(directory) && !hasSuccessor(directory)) {
    const lease = readLease(directory);
    if (lease) {
      const age = leaseAgeMs(lease);
      if (age < fencingTimes(lease.leaseMs).stopAtMs) fence = new Fence(directory);
      else {
        // Docker is away, and maybe back at the next look.
        const left = await fence.look(lease).catch((error: unknown) => console.error(String(error)));
        if (left === 0 && age > LEAVE_AFTER_LEASES * lease.leaseMs) return;
      }
    }
    await sleep(LOOK_MS);
  }
}

/** What is done about the containers of a lease that ends: SIGTERM once, and SIGKILL when it is nearly over. */
class Fence {
  readonly #told = new Set<string>();
  readonly #isDown = new Set<string>();
  readonly #underWay = new Set<string>();
  /** A container that resists does so every second, and in the same words. */
  readonly #said = new Set<string>();
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /**
   * Waits for none of them: one that Docker can't end, or does not answer for, must not keep the others.
   * @returns how many are not known to be down
   */
  async look(lease: NodeLease): Promise<number> {
    const docker = createDocker(lease.dockerHost);
    const names = (await docker.list(labelsOfNode(lease.place))).map(containerNameOf);
    for (const name of names) {
      if (this.#underWay.has(name)) continue;
      this.#underWay.add(name);
      void this.#end(docker, name)
        .catch((error: unknown) => this.#say(name, String(error)))
        .finally(() => this.#underWay.delete(name));
    }
    return names.filter((name) => !this.#isDown.has(name)).length;
  }

  async #end(docker: Docker, name: string): Promise<void> {
    const state = await docker.inspect(name);
    // Docker may have taken its time, and the lease may have been renewed.
    const lease = readLease(this.#directory);
    if (lease === undefined || leaseAgeMs(lease) < fencingTimes(lease.leaseMs).stopAtMs) return;
    if (state?.status === 'running') {
      this.#isDown.delete(name);
      const kills = leaseAgeMs(lease) >= fencingTimes(lease.leaseMs).killAtMs;
      if (!kills && this.#told.has(name)) return;
      const signal = kills ? 'SIGKILL' : 'SIGTERM';
      this.#say(name, `${signal}, since the lease of ${lease.leaseMs / 1000} s is nearly over`);
      await docker.kill(name, signal);
      this.#told.add(name);
      return;
    }
    const strays = state ? await killStrayProcesses(state.id) : 0;
    if (strays === 0) this.#isDown.add(name);
  }

  #say(name: string, text: string): void {
    const sentence = `${name}: ${text}`;
    if (!this.#said.has(sentence)) console.error(sentence);
    this.#said.add(sentence);
  }
}

const [stateDirectory] = process.argv.slice(2);
if (stateDirectory === undefined) throw new Error('usage: guard.js STATE-DIRECTORY');
becomeGuard(stateDirectory);
await guard(stateDirectory);
