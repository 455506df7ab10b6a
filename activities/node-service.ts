/** The node in service: as long as this activity heartbeats, its node is there. */
import { once } from 'node:events';
import { whileAttached } from './attached.ts';
import type { NodeActivities } from './contract.ts';

export interface NodeService {
  readonly activities: Pick<NodeActivities, 'serve-node'>;
  /** False while nobody asks for this node: its workflow does not know of the agent. */
  inService(): boolean;
}

export function createNodeService(): NodeService {
  let serving = 0;
  return {
    inService: () => serving > 0,
    activities: {
      'serve-node': () =>
        whileAttached(async (signal) => {
          serving += 1;
          try {
            if (!signal.aborted) await once(signal, 'abort');
            signal.throwIfAborted();
          } finally {
            serving -= 1;
          }
        }),
    },
  };
}
