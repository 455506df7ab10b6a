/** The node in service: as long as this activity heartbeats, its node is there. */
import { once } from 'node:events';
import { whileAttached } from './attached.ts';
import type { NodeActivities } from './contract.ts';

export function createNodeServiceActivities(): Pick<NodeActivities, 'serve-node'> {
  return {
    'serve-node': () =>
      whileAttached(async (signal) => {
        if (!signal.aborted) await once(signal, 'abort');
        signal.throwIfAborted();
      }),
  };
}
