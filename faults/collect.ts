/** Puts together what is to be judged, when all has ended or nobody waits any longer. */
import { natsUrl } from '../stack/addresses.ts';
import type { Evidence } from './evidence.ts';
import { readCapacity, readExecutions } from './histories.ts';
import type { Injector, World } from './inject.ts';
import { readLogs } from './log-stream.ts';
import { CPU_SLOTS, GPUS_PER_NODE } from './plan.ts';
import type { User } from './user.ts';

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
  return {
    seed,
    until: Date.now(),
    nodes: world.nodes.map(({ node }) => ({ name: node.name, gpus: GPUS_PER_NODE, cpuSlots: CPU_SLOTS })),
    orders: user.orders,
    executions,
    containers,
    leases,
    logs: await readLogs(natsUrl(world.stack.config.ports), containers),
    follows,
    silences: world.heartbeats.silences(),
    losses,
    faults: injector.faults,
  };
}
