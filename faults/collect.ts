/** Puts together what is to be judged, when all has ended or nobody waits any longer. */
import { natsUrl } from '../stack/addresses.ts';
import type { Evidence, RankLog, ReadLog } from './evidence.ts';
import { readCapacity, readExecutions } from './histories.ts';
import type { Injector } from './inject.ts';
import { readLogs } from './log-stream.ts';
import { CPU_SLOTS, GPUS_PER_NODE } from './plan.ts';
import { planProbe } from './probe.ts';
import type { User } from './user.ts';
import type { World } from './world.ts';

/** As many as the smallest machine has cores. */
const READERS = 2;

export async function collect(
  seed: number,
  { world, user, injector }: { readonly world: World; readonly user: User; readonly injector: Injector },
): Promise<Evidence> {
  const client = await world.stack.client();
  const executions = await readExecutions(client);
  // Afterwards: what a run gives back, it gives back before it ends.
  const { leases, losses } = await readCapacity(client);
  const follows = await Promise.all(user.follows);
  const containers = world.nodes.flatMap(({ watch }) => watch.evidence());
  const logs = await readLogs(natsUrl(world.stack.config.ports), containers);
  const probes = planProbe(seed).map(({ name }) => name);
  return {
    seed,
    until: Date.now(),
    nodes: world.nodes.map(({ node }) => ({ name: node.name, gpus: GPUS_PER_NODE, cpuSlots: CPU_SLOTS })),
    orders: user.orders,
    probes,
    executions,
    containers,
    leases,
    logs,
    follows,
    reads: await readAsPeopleDo(user, logs, probes),
    silences: world.heartbeats.silences(),
    losses,
    faults: injector.faults,
    skipped: injector.skipped,
  };
}

/** One log of each run, in turn of any resumption and rank; the probes have nothing new to tell. */
async function readAsPeopleDo(
  user: User,
  logs: readonly RankLog[],
  probes: readonly string[],
): Promise<ReadLog[]> {
  const told = logs.filter(({ run }) => !probes.some((name) => run.startsWith(`${name}-`)));
  const chosen = [...Map.groupBy(told, ({ run }) => run).values()].flatMap(
    (own, index) => own[index % own.length] ?? [],
  );
  const reads: ReadLog[] = [];
  const readOn = async (): Promise<void> => {
    for (let log = chosen.pop(); log; log = chosen.pop()) reads.push(await user.read(log));
  };
  await Promise.all(Array.from({ length: READERS }, readOn));
  return reads;
}
