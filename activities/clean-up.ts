/** What a node keeps for a container outside of it: image marks, progress files, opened secrets. */
import { containerName } from '../core/naming.ts';
import type { RankRef } from '../core/naming.ts';

/** Clears up after a container that is gone; may be called more than once. */
export type CleanUp = (ref: RankRef) => Promise<void>;

/** Does each by itself, and never fails: what cannot be removed from a disk must not hold GPUs. */
export function cleanUpAll(steps: readonly CleanUp[]): CleanUp {
  return async (ref) => {
    const results = await Promise.allSettled(steps.map((step) => step(ref)));
    for (const result of results) {
      if (result.status === 'rejected') {
        console.error(`Something is left of ${containerName(ref)} on this node: ${String(result.reason)}`);
      }
    }
  };
}
