/** Puts together what is to be judged, when all has ended or nobody waits any longer. */
import { DeliverPolicy, JetStreamApiCodes, JetStreamApiError, jetstream } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { decodeLogEntries } from '../core/log-entries.ts';
import { LOG_STREAM, parseLogSubject } from '../core/naming.ts';
import { natsUrl } from '../stack/addresses.ts';
import type { Evidence, RankLog } from './evidence.ts';
import { readCapacity, readExecutions } from './histories.ts';
import type { Injector, World } from './inject.ts';
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
  return {
    seed,
    until: Date.now(),
    nodes: world.nodes.map(({ node }) => ({ name: node.name, gpus: GPUS_PER_NODE, cpuSlots: CPU_SLOTS })),
    orders: user.orders,
    executions,
    containers: world.nodes.flatMap(({ watch }) => watch.evidence()),
    leases,
    logs: await readLogs(world),
    follows,
    silences: world.heartbeats.silences(),
    losses,
    faults: injector.faults,
  };
}

/** All that the log stream has, message by message, in the order in which it has them. */
async function readLogs({ stack }: World): Promise<RankLog[]> {
  const nats = await connect({ servers: natsUrl(stack.config.ports) });
  const texts = new Map<string, string>();
  try {
    const consumer = await jetstream(nats).consumers.get(LOG_STREAM, { deliver_policy: DeliverPolicy.All });
    let left = (await consumer.info()).num_pending;
    if (left === 0) return [];
    for await (const { subject, data } of await consumer.consume()) {
      const pieces = decodeLogEntries(data).map(({ bytes }) => Buffer.from(bytes).toString('latin1'));
      texts.set(subject, (texts.get(subject) ?? '') + pieces.join(''));
      left -= 1;
      if (left <= 0) break;
    }
  } catch (error) {
    // No node has ever written a log.
    if (!(error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound)) throw error;
  } finally {
    await nats.close();
  }
  return [...texts].map(([subject, text]) => ({ ...parseLogSubject(subject), text }));
}
