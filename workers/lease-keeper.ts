/** The agent's side of its node's lease: writes it for the guard, and asks it before anything is started. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { NodeConfig } from './node-config.ts';
import { fencingTimes, leaseAgeMs, leaseWriter, monotonicMs, readLease } from './node-lease.ts';

export interface LeaseKeeper {
  /** @param sentAt when the heartbeat that the control plane has acknowledged was sent, by `monotonicMs` */
  renew(sentAt: number): void;
  /** Why the lease can't be written; undefined when all is well. */
  error(): string | undefined;
  /** True when the cluster may have given this node up: then it gets nothing new until it has cleared up. */
  mayBeLost(): boolean;
  /** False when the guard would end at once what is started now. */
  isFresh(): boolean;
  /** Resolves when it is fresh. @throws Error when it stays stale for a minute */
  untilFresh(signal: AbortSignal): Promise<void>;
}

/** A heartbeat a second renews the lease. */
const CHECK_MS = 300;
const FRESH_WITHIN_MS = 60_000;
/** Sooner, no node workflow gives its node up. */
const GIVEN_UP_AFTER_MS = 7_000;

export function createLeaseKeeper(
  {
    leaseMs,
    stateDirectory,
    cluster,
    node,
    dockerHost,
  }: Pick<NodeConfig, 'leaseMs' | 'stateDirectory' | 'cluster' | 'node' | 'dockerHost'>,
  controlPlane: string,
): LeaseKeeper {
  // Without a limit nobody gives the runs of this node to another.
  if (leaseMs === null) {
    return {
      renew: () => undefined,
      error: () => undefined,
      mayBeLost: () => false,
      isFresh: () => true,
      untilFresh: () => Promise.resolve(),
    };
  }
  const { stopAtMs } = fencingTimes(leaseMs);
  const write = leaseWriter(stateDirectory);
  const guarded = {
    leaseMs,
    place: { controlPlane, cluster, node },
    ...(dockerHost !== undefined && { dockerHost }),
  };
  let error: string | undefined;
  const isFresh = (): boolean => {
    const known = readLease(stateDirectory);
    return known !== undefined && leaseAgeMs(known) < stopAtMs;
  };
  return {
    renew(renewedAt) {
      try {
        write({ renewedAt, ...guarded });
        error = undefined;
      } catch (caught) {
        const message = caught instanceof Error ? caught.message : String(caught);
        if (message !== error) console.error(`The lease of this node can't be written: ${message}`);
        error = message;
      }
    },
    error: () => error,
    mayBeLost() {
      const known = readLease(stateDirectory);
      return known === undefined || leaseAgeMs(known) > GIVEN_UP_AFTER_MS;
    },
    isFresh,
    async untilFresh(signal) {
      const deadline = monotonicMs() + FRESH_WITHIN_MS;
      while (!isFresh()) {
        if (monotonicMs() > deadline) {
          throw new Error(
            `the lease of ${node} is not renewed: ${error ?? 'the control plane does not answer'}.`,
          );
        }
        await sleep(CHECK_MS, undefined, { signal });
      }
    },
  };
}
