/**
 * Sees to it that no two containers of a node hold one GPU, whatever the cluster believes: of a run that was terminated
 * in Temporal it only knows that its containers should have ended by now.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { NodePlace } from '../core/naming.ts';
import { containerName, containerNameOf, LABELS, labelsOfNode } from '../core/naming.ts';
import type { RankAssignment } from './contract.ts';
import type { Docker } from './docker.ts';

const LOOK_AGAIN_MS = 1_000;
/** Longer than an orphan takes to be found and to end. */
const PATIENCE_MS = 60_000;

interface Dependencies {
  readonly docker: Pick<Docker, 'list' | 'inspect'>;
  readonly place: NodePlace;
  readonly patienceMs?: number;
}

/** Resolves when no other container holds a GPU of this rank. @throws Error when one goes on holding it */
export type GpuGate = (rank: RankAssignment, signal: AbortSignal) => Promise<void>;

export function createGpuGate({ docker, place, patienceMs = PATIENCE_MS }: Dependencies): GpuGate {
  return async (rank, signal) => {
    if (rank.gpuIds.length === 0) return;
    const deadline = performance.now() + patienceMs;
    for (;;) {
      const holder = await otherHolder(rank);
      if (holder === undefined) return;
      if (performance.now() > deadline) {
        throw new Error(`${holder} still holds GPUs of ${place.node} that were given to ${rank.run}.`);
      }
      await sleep(LOOK_AGAIN_MS, undefined, { signal });
    }
  };

  async function otherHolder(rank: RankAssignment): Promise<string | undefined> {
    const containers = await docker.list(labelsOfNode(place));
    const others = containers
      .filter(({ labels }) => gpusOf(labels).some((gpu) => rank.gpuIds.includes(gpu)))
      .map(({ labels }) => containerNameOf(labels))
      .filter((name) => name !== containerName(rank));
    for (const name of others) {
      if ((await docker.inspect(name))?.status === 'running') return name;
    }
    return undefined;
  }
}

function gpusOf(labels: Readonly<Record<string, string>>): number[] {
  const gpus = labels[LABELS.gpus] ?? '';
  return gpus === '' ? [] : gpus.split(',').map(Number);
}
