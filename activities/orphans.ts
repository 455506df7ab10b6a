/**
 * Clears up containers that nobody owns any more: their run was terminated or deleted, or went on elsewhere while this
 * node was cut off. No workflow code runs for such a run, so its agent stops the container and gives the GPUs back.
 *
 * A container is left alone while an activity of this agent holds it, which would be told of an end by its heartbeat,
 * and whenever its run is open and on the same resumption. Who cannot be asked is not judged.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/client';
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import type { ActivityInterceptorsFactory } from '@temporalio/worker';
import type { NodePlace, RankRef } from '../core/naming.ts';
import { clusterWorkflowId, containerName, containerNameOf, LABELS, labelsOfNode } from '../core/naming.ts';
import { DEFAULT_GRACE_MS } from '../core/run.ts';
import type { SearchAttributeName } from '../core/search-attributes.ts';
import { releaseCapacitySignal } from '../workflows/messages.ts';
import type { CleanUp } from './clean-up.ts';
import type { ContainerLogs } from './container-logs.ts';
import type { ContainerStop } from './contract.ts';
import type { Docker } from './docker.ts';
import { stopContainer } from './stop-container.ts';

interface Dependencies {
  readonly docker: Docker;
  readonly logs: Pick<ContainerLogs, 'close'>;
  /** Called when a container is gone. Must not fail. */
  readonly cleanUp: CleanUp;
  readonly temporal: Client;
  /** Whose containers may be cleared up. */
  readonly place: NodePlace;
  /** After how long `settle` says what it waits for, in milliseconds. */
  readonly sayAfterMs?: number;
}

export interface OrphanKeeper {
  /**
   * Resolves when no orphan runs. One that an activity holds ends by its own order, whose grace may be longer than the
   * lease: it is waited for, too, so that the lease is not renewed meanwhile. @throws when one resists
   */
  settle(): Promise<void>;
  /** Looks at once, every 10 s, and whenever an activity of a run ends that is gone. Ends with `signal`. */
  watch(signal: AbortSignal): Promise<void>;
  /** Tells the keeper what the activities of this agent hold. */
  readonly interceptors: ActivityInterceptorsFactory;
}

const LOOK_INTERVAL_MS = 10_000;
const SETTLE_INTERVAL_MS = 1_000;
/** Longer than the usual grace. */
const SAY_AFTER_MS = 40_000;
const REQUEST_TIMEOUT_MS = 5_000;

const RESUMPTION = defineSearchAttributeKey(
  'Resumption' satisfies SearchAttributeName,
  SearchAttributeType.INT,
);

export function createOrphanKeeper({
  docker,
  logs,
  cleanUp,
  temporal,
  place,
  sayAfterMs = SAY_AFTER_MS,
}: Dependencies): OrphanKeeper {
  /** Containers with the number of activities that hold them: a retry may overlap its predecessor. */
  const held = new Map<string, number>();
  /** A slow end must not keep the next look from the others. */
  const clearing = new Set<string>();
  /** Of those that are being cleared. */
  const stops = new Map<string, Promise<unknown>>();
  let wake = new AbortController();

  return {
    async settle() {
      let running: readonly string[] = [];
      const late = setTimeout(() => {
        const names = [...stops.keys(), ...running].join(', ');
        console.error(
          `The node is not offered yet, since runs that went on elsewhere still hold it: ${names}`,
        );
      }, sayAfterMs);
      try {
        // No limit: at the end of the lease the guard kills them.
        do {
          if (running.length > 0) await sleep(SETTLE_INTERVAL_MS);
          // What is left of them when they are stopped is not waited for: the log server may be away.
          await Promise.all(await look());
          running = await runningOrphans();
        } while (running.length > 0);
      } finally {
        clearTimeout(late);
      }
    },

    async watch(signal) {
      while (!signal.aborted) {
        // Renewed before the look: whatever happens during it may need another.
        wake = new AbortController();
        // Docker or Temporal is away: nothing is touched, and the next look is soon.
        await look().catch(() => undefined);
        const pause = AbortSignal.any([signal, wake.signal]);
        await sleep(LOOK_INTERVAL_MS, undefined, { signal: pause }).catch(() => undefined);
      }
    },

    interceptors: (context) => ({
      inbound: {
        async execute(input, next) {
          const [ref] = input.args as [Partial<RankRef> | undefined];
          const name = isRankRef(ref) ? containerName(ref) : undefined;
          if (name === undefined) return await next(input);
          held.set(name, (held.get(name) ?? 0) + 1);
          try {
            return await next(input);
          } finally {
            const others = (held.get(name) ?? 1) - 1;
            if (others > 0) held.set(name, others);
            else held.delete(name);
            if (context.cancellationDetails?.notFound) wake.abort();
          }
        },
      },
    }),
  };

  /** @returns the stops of all orphans that nobody holds */
  async function look(): Promise<ReadonlySet<Promise<unknown>>> {
    const all = new Set(stops.values());
    for (const container of await containers()) {
      const { name } = container;
      if (held.has(name) || clearing.has(name) || !(await isOrphan(container))) continue;
      clearing.add(name);
      // The usual grace: nobody can be asked for the run's own.
      const stop = stopContainer(docker, name, DEFAULT_GRACE_MS);
      stops.set(name, stop);
      all.add(stop);
      void clear(container, stop)
        // The next look finds what is left.
        .catch((error: unknown) => console.error(`Orphaned container ${name} resists: ${String(error)}`))
        .finally(() => clearing.delete(name));
    }
    return all;
  }

  /** Names of all, also of those that an activity holds: it has not heard of the end yet, or is about to bring it. */
  async function runningOrphans(): Promise<string[]> {
    const running: string[] = [];
    for (const container of await containers()) {
      const { name } = container;
      if ((await isOrphan(container)) && (await docker.inspect(name))?.status === 'running')
        running.push(name);
    }
    return running;
  }

  async function containers(): Promise<OwnedContainer[]> {
    return (await docker.list(labelsOfNode(place))).map(({ labels }) => describeContainer(labels));
  }

  async function isOrphan({ run, resumption }: OwnedContainer): Promise<boolean> {
    try {
      const { closeTime, typedSearchAttributes } = await bounded(() =>
        temporal.workflow.getHandle(run).describe(),
      );
      return closeTime !== undefined || (typedSearchAttributes.get(RESUMPTION) ?? 0) > resumption;
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return true;
      throw error;
    }
  }

  async function clear(container: OwnedContainer, stop: Promise<ContainerStop>): Promise<void> {
    const { name, run, resumption } = container;
    const { endedBy } = await stop.finally(() => stops.delete(name));
    await logs.close(container, 'orphaned');
    await docker.remove(name);
    await cleanUp(container);
    console.error(`Cleared up ${name}, whose run is gone or has moved on (${endedBy}).`);
    // Other nodes may still hold GPUs of a gang. Its lease, and one whose release does not arrive, is left to the
    // sweep of the cluster.
    if (container.ranks === 1) await release({ run, resumption }).catch(() => undefined);
  }

  function release(ref: { readonly run: string; readonly resumption: number }): Promise<void> {
    const handle = temporal.workflow.getHandle(clusterWorkflowId(place.cluster));
    return bounded(() => handle.signal(releaseCapacitySignal, { ...ref, ranToEnd: false }));
  }

  function bounded<T>(request: () => Promise<T>): Promise<T> {
    return temporal.withDeadline(Date.now() + REQUEST_TIMEOUT_MS, request);
  }
}

interface OwnedContainer extends RankRef {
  readonly name: string;
  /** Of the whole run. */
  readonly ranks: number;
}

function describeContainer(labels: Readonly<Record<string, string>>): OwnedContainer {
  const ref = {
    run: labels[LABELS.run] ?? '',
    resumption: Number(labels[LABELS.resumption]),
    rank: Number(labels[LABELS.rank]),
  };
  return { ...ref, name: containerNameOf(labels), ranks: Number(labels[LABELS.ranks]) };
}

function isRankRef(input: Partial<RankRef> | undefined): input is RankRef {
  return input?.run !== undefined && input.resumption !== undefined && input.rank !== undefined;
}
