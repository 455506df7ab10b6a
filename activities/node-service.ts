/**
 * The node in service: as long as this activity heartbeats, its node is there. What the server acknowledges renews the
 * node's lease, so these heartbeats are sent by hand.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import type { NodeHealth, NodeHeartbeat } from '../core/node-health.ts';
import { whileAttached } from './attached.ts';
import type { NodeActivities } from './contract.ts';
import { sendHeartbeat } from './heartbeat.ts';

interface Dependencies {
  readonly temporal: () => Promise<Client>;
  readonly health: () => NodeHealth | undefined;
  /** Called with the time at which an acknowledged heartbeat was sent, as `now` tells it. */
  readonly onAcknowledged: (sentAt: number) => void;
  readonly now: () => number;
}

export interface NodeService {
  readonly activities: Pick<NodeActivities, 'serve-node'>;
  /** False while nobody asks for this node: its workflow does not know of the agent. */
  inService(): boolean;
  /** Resolves when a service period ends, or with `signal`. */
  untilOut(signal: AbortSignal): Promise<void>;
}

const HEARTBEAT_MS = 1_000;

export function createNodeService({ temporal, health, onAcknowledged, now }: Dependencies): NodeService {
  let serving = 0;
  const ends = new EventTarget();
  const heartbeat = (): NodeHeartbeat => {
    const sample = health();
    return { sentAt: Date.now(), ...(sample && { health: sample }) };
  };

  return {
    inService: () => serving > 0,
    untilOut: (signal) =>
      new Promise((resolve) => {
        const done = (): void => {
          ends.removeEventListener('end', done);
          signal.removeEventListener('abort', done);
          resolve();
        };
        ends.addEventListener('end', done);
        signal.addEventListener('abort', done);
        if (signal.aborted) done();
      }),
    activities: {
      'serve-node': () =>
        whileAttached(async (signal) => {
          serving += 1;
          try {
            while (!signal.aborted) {
              await renew();
              await sleep(HEARTBEAT_MS, undefined, { signal });
            }
            signal.throwIfAborted();
          } finally {
            serving -= 1;
            ends.dispatchEvent(new Event('end'));
          }
        }, heartbeat),
    },
  };

  /** A server that is away is a lease that is not renewed. An activity that is over ends by the SDK's heartbeat. */
  async function renew(): Promise<void> {
    const sentAt = now();
    const isWanted = await sendHeartbeat(await temporal(), heartbeat()).catch(() => false);
    if (isWanted) onAcknowledged(sentAt);
  }
}
