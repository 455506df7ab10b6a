/** Who runs the cluster: looks at its nodes, and trusts those again that were cordoned because of the faults. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Clusters, Connections } from '../client/index.ts';
import { NAMESPACE } from '../core/naming.ts';
import { natsUrl, temporalAddress } from '../stack/addresses.ts';
import { CLUSTER } from './fault-node.ts';
import type { FaultStack } from './fault-stack.ts';
import { say } from './say.ts';

const LOOK_MS = 500;
const TRUSTS_AGAIN_MS = 3_000;
const NODES_WITHIN_MS = 30_000;

export async function untilInService(stack: FaultStack, count: number): Promise<void> {
  const deadline = Date.now() + NODES_WITHIN_MS;
  for (;;) {
    const nodes = await withClusters(
      stack,
      async (clusters) => (await clusters.view(CLUSTER)).snapshot.nodes,
    );
    if (nodes?.filter(({ alive }) => alive).length === count) return;
    if (Date.now() > deadline)
      throw new Error(`the nodes were not in service within ${NODES_WITHIN_MS / 1000} s`);
    await sleep(LOOK_MS);
  }
}

export async function operate(stack: FaultStack, over: AbortSignal): Promise<void> {
  while (!over.aborted) {
    await withClusters(stack, async (clusters) => {
      for (const { node, cordoned } of (await clusters.view(CLUSTER)).snapshot.nodes) {
        if (!cordoned) continue;
        say(`uncordoning ${node}`);
        await clusters.order(CLUSTER, { type: 'uncordoned', node });
      }
    });
    await sleep(TRUSTS_AGAIN_MS, undefined, { signal: over }).catch(() => undefined);
  }
}

/** @returns undefined where the servers do not answer, or are gone */
async function withClusters<T>(
  stack: FaultStack,
  ask: (clusters: Clusters) => Promise<T>,
): Promise<T | undefined> {
  try {
    const connections = connectionsTo(stack);
    try {
      return await ask(new Clusters(connections));
    } finally {
      await connections.close();
    }
  } catch {
    return undefined;
  }
}

function connectionsTo({ config: { ports } }: FaultStack): Connections {
  return new Connections({
    temporal: { address: temporalAddress(ports) },
    namespace: NAMESPACE,
    natsUrl: natsUrl(ports),
  });
}
