/** What waiting runs are told: place, reason and expected start. */
import type { Wait } from './scheduler.ts';
import type { Planning, WaitingRun } from './scheduler.ts';

export function describeWaits(planning: Planning): Wait[] {
  return planning.waiting.map((waiting, i) => ({
    type: 'WAIT',
    run: waiting.request.run,
    resumption: waiting.request.resumption,
    position: i + 1,
    reason: reasonOf(planning, waiting),
  }));
}

function reasonOf(planning: Planning, waiting: WaitingRun): string {
  const { demand } = waiting;
  const free = planning.capacity.pools.get(demand.pool)?.free ?? 0;
  return `Waiting for ${demand.units * demand.nodes} GPUs: ${free} free on ${planning.snapshot.cluster}`;
}
