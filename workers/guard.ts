/**
 * The guard of a node: a small process of its own, so that it acts while the agent is dead, frozen or cut off. When the
 * control plane has not heard of the node for the length of its lease, the runs of the node go on elsewhere; by then the
 * guard has stopped their containers here. It needs the lease file, and Docker to learn of containers and to let them end
 * in good order; never the network.
 *
 * `node guard.js STATE-DIRECTORY`; started by the agent, and left behind by it on purpose.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Docker } from '../activities/docker.ts';
import { createDocker } from '../activities/docker.ts';
import { killStrayProcesses, processesOf } from '../activities/stray-processes.ts';
import { containerNameOf, labelsOfNode } from '../core/naming.ts';
import { becomeGuard, hasSuccessor } from './guard-identity.ts';
import { noteEnd } from './guard-notes.ts';
import type { NodeLease } from './node-lease.ts';
import { fencingTimes, hasLease, leaseAgeMs, readLease } from './node-lease.ts';

const LOOK_MS = 1_000;
/** While there is nothing to end: how often Docker is asked for the containers of the node. */
const LIST_MS = 5_000;
/** After this without an agent nothing is left to guard. */
const LEAVE_AFTER_LEASES = 2;

async function guard(directory: string): Promise<void> {
  const fence = new Fence(directory);
  // Without the file, the agent wants no guard any more, or keeps its state elsewhere.
  while (hasLease(directory) && !hasSuccessor(directory)) {
    const lease = readLease(directory);
    if (lease) {
      const age = leaseAgeMs(lease);
      if (age < fencingTimes(lease.leaseMs).stopAtMs) fence.rest(lease);
      else if (age > LEAVE_AFTER_LEASES * lease.leaseMs && fence.isDone()) return;
      else fence.act(lease);
    }
    await sleep(LOOK_MS);
  }
}

/**
 * What is done about the containers of a lease that ends: SIGTERM once, and SIGKILL when it is nearly over. Nothing
 * waits for Docker, which may be away, or not answer for one of them: when it is time to kill, the processes of all
 * containers that it has named are also killed without it.
 */
class Fence {
  /** Ids of the containers that Docker has named last, by name. */
  #known: ReadonlyMap<string, string> = new Map();
  #listedAt = -Infinity;
  #isActing = false;
  readonly #told = new Set<string>();
  readonly #isDown = new Set<string>();
  readonly #underWay = new Set<string>();
  /** What was said last about what: most things go wrong every second, and in the same words. */
  readonly #said = new Map<string, string>();
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Nothing is to end. Who is there is asked all the same: later, Docker may be away. */
  rest(lease: NodeLease): void {
    if (this.#isActing) for (const past of [this.#told, this.#isDown, this.#said]) past.clear();
    this.#isActing = false;
    if (performance.now() - this.#listedAt > LIST_MS) this.#once('Docker', () => this.#list(lease));
  }

  act(lease: NodeLease): void {
    this.#isActing = true;
    this.#endAll(lease);
    this.#once('Docker', async () => {
      await this.#list(lease);
      this.#endAll(lease);
    });
  }

  /** Whether all containers are known to be down. */
  isDone(): boolean {
    const isListed = performance.now() - this.#listedAt < LIST_MS;
    return isListed && [...this.#known.keys()].every((name) => this.#isDown.has(name));
  }

  async #list(lease: NodeLease): Promise<void> {
    const found = await createDocker(lease.dockerHost).list(labelsOfNode(lease.place));
    this.#known = new Map(found.map(({ id, labels }) => [containerNameOf(labels), id]));
    this.#listedAt = performance.now();
  }

  #endAll(lease: NodeLease): void {
    const docker = createDocker(lease.dockerHost);
    for (const [name, id] of this.#known) {
      this.#once(name, () => this.#end(docker, name));
      if (this.#due() === 'SIGKILL') this.#once(`Processes of ${name}`, () => this.#kill(name, id));
    }
  }

  async #end(docker: Docker, name: string): Promise<void> {
    const state = await docker.inspect(name);
    // Docker may have taken its time, and the lease may have been renewed.
    const signal = this.#due();
    if (signal === undefined) return;
    if (state?.status === 'running') {
      this.#isDown.delete(name);
      if (signal === 'SIGTERM' && this.#told.has(name)) return;
      this.#say(`The end of ${name}`, `${signal}, since the lease is nearly over`);
      this.#note(name);
      await docker.kill(name, signal);
      this.#told.add(name);
      return;
    }
    const strays = state ? await killStrayProcesses(state.id) : 0;
    if (strays === 0) this.#isDown.add(name);
  }

  async #kill(name: string, id: string): Promise<void> {
    if ((await processesOf(id)).length === 0) return;
    this.#note(name);
    await killStrayProcesses(id);
  }

  #note(name: string): void {
    const lease = readLease(this.#directory);
    if (lease) noteEnd(this.#directory, name, leaseAgeMs(lease));
  }

  /** What the containers have to be sent by now. */
  #due(): 'SIGTERM' | 'SIGKILL' | undefined {
    const lease = readLease(this.#directory);
    if (lease === undefined) return undefined;
    const { stopAtMs, killAtMs } = fencingTimes(lease.leaseMs);
    const age = leaseAgeMs(lease);
    if (age < stopAtMs) return undefined;
    return age < killAtMs ? 'SIGTERM' : 'SIGKILL';
  }

  /** One at a time of each; what fails is tried again with the next look. */
  #once(what: string, step: () => Promise<unknown>): void {
    if (this.#underWay.has(what)) return;
    this.#underWay.add(what);
    void step()
      .then(() => this.#said.delete(what))
      .catch((error: unknown) => this.#say(what, String(error)))
      .finally(() => this.#underWay.delete(what));
  }

  #say(what: string, sentence: string): void {
    if (this.#said.get(what) !== sentence) console.error(`${what}: ${sentence}`);
    this.#said.set(what, sentence);
  }
}

const [stateDirectory] = process.argv.slice(2);
if (stateDirectory === undefined) throw new Error('usage: guard.js STATE-DIRECTORY');
becomeGuard(stateDirectory);
await guard(stateDirectory);
