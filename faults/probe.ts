/** Proves in the end that all capacity is free again: takes all of it, at once. */
import { setTimeout as sleep } from 'node:timers/promises';
import { CPU_SLOTS, GPUS_PER_NODE } from './plan.ts';
import type { PlannedRun } from './plan.ts';
import { say } from './say.ts';
import type { User } from './user.ts';
import { NODES } from './world.ts';
import type { World } from './world.ts';

/** A node that was lost may just be coming back, and one that was cordoned be trusted again. */
const ALL_WITHIN_MS = 60_000;
const LOOK_MS = 200;

/** Resolves when these runs have been told to stop. */
export async function probe(world: World, user: User, seed: number): Promise<void> {
  const deadline = Date.now() + ALL_WITHIN_MS;
  const runs = planProbe(seed);
  say(`${runs.length} runs for all that there is`);
  const submitted = Promise.all(runs.map((run) => user.carryOut(run)));
  const ranks = runs.reduce((sum, { nodes }) => sum + nodes, 0);
  while (Date.now() < deadline && ranksAlive(world, runs) < ranks) await sleep(LOOK_MS);
  await Promise.race([submitted, sleep(Math.max(0, deadline - Date.now()))]);
  const accepted = user.orders
    .filter(({ name }) => runs.some((run) => run.name === name))
    .flatMap((order) => order.accepted);
  await Promise.race([Promise.all(accepted.map((run) => user.stop(run))), sleep(ALL_WITHIN_MS)]);
}

function ranksAlive({ nodes }: World, runs: readonly PlannedRun[]): number {
  const lives = nodes.flatMap(({ watch }) => watch.alive());
  return lives.filter(({ run }) => runs.some(({ name }) => run.startsWith(`${name}-`))).length;
}

/** A gang for all GPUs, and a run for each CPU slot: they go on until they are stopped. */
export function planProbe(seed: number): PlannedRun[] {
  const gang = { gpus: NODES.length * GPUS_PER_NODE, nodes: NODES.length };
  const slots = Array.from({ length: NODES.length * CPU_SLOTS }, () => ({ gpus: 0, nodes: 1 }));
  return [gang, ...slots].map((size, index) => ({
    name: `f${seed}-all-${index}`,
    atMs: 0,
    program: {
      lines: null,
      burst: 1,
      pauseMs: 200,
      binary: false,
      onTerm: 'unprepared',
      end: { type: 'exit', code: 0 },
      holdsOn: false,
    },
    ...size,
    priority: 'medium',
    preemptible: false,
    maxRetries: 0,
    followed: false,
  }));
}
