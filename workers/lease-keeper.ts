/** The agent's side of its node's lease: writes it for the guard, and asks it before anything is started. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { NodeConfig } from './node-config.ts';
import { endGuard } from './guard-identity.ts';
import { dropLease, fencingTimes, hasLease, leaseAgeMs, leaseWriter, readLease } from './node-lease.ts';

export interface LeaseKeeper {
  /** @param sentAt when the heartbeat that the control plane has acknowledged was sent, by `uptimeMs` */
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
  let error: string | undefined;
  const write = leaseMs === null ? () => letGo(stateDirectory) : writeLease(leaseMs);
  const isFresh = (): boolean => {
    const known = readLease(stateDirectory);
    return known === undefined ? leaseMs === null : leaseAgeMs(known) < fencingTimes(known.leaseMs).stopAtMs;
  };
  return {
    renew(renewedAt) {
      try {
        write(renewedAt);
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
      return known === undefined ? leaseMs !== null : leaseAgeMs(known) > GIVEN_UP_AFTER_MS;
    },
    isFresh,
    async untilFresh(signal) {
      const deadline = performance.now() + FRESH_WITHIN_MS;
      while (!isFresh()) {
        if (performance.now() > deadline) {
          throw new Error(
            `the lease of ${node} is not renewed: ${error ?? 'the control plane does not answer'}.`,
          );
        }
        await sleep(CHECK_MS, undefined, { signal });
      }
    },
  };

  function writeLease(leaseMs: number): (renewedAt: number) => void {
    const write = leaseWriter(stateDirectory);
    const place = { controlPlane, cluster, node };
    return (renewedAt) =>
      write({ renewedAt, leaseMs, place, ...(dockerHost !== undefined && { dockerHost }) });
  }
}

/**
 * For a node whose runs nobody gives to another, as the control plane knows now. Until it did, it may have been about to:
 * what is left of another setting then holds.
 */
function letGo(stateDirectory: string): void {
  if (!hasLease(stateDirectory)) return;
  dropLease(stateDirectory);
  endGuard(stateDirectory);
}
