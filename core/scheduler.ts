/**
 * The scheduler: from a snapshot of a cluster to what to do now. Pure; the same snapshot gives the same plan, in
 * whatever order its nodes, queue and leases are listed.
 *
 * Runs are looked at in queue order. One that fits starts. The first that has to wait gets a reservation at the
 * earliest time it can expect to fit, and later ones go ahead of it only if that leaves the reservation alone.
 */
import type { ClusterSnapshot } from './cluster.ts';
import type { RunTimeHistory } from './estimates.ts';
import { Planning } from './planning.ts';
import type { Admit, Preempt } from './planning.ts';
import { PRODUCT_POLICY } from './policy.ts';
import type { Policy } from './policy.ts';
import { describeWaits } from './waiting.ts';
import type { Wait } from './waiting.ts';

export type Decision = Admit | Preempt | Wait;

/** What to do now, at `now` epoch milliseconds. Admissions and preemptions first, then every run that waits. */
export function plan(
  snapshot: ClusterSnapshot,
  now: number,
  history: RunTimeHistory,
  policy: Policy = PRODUCT_POLICY,
): Decision[] {
  const planning = new Planning(snapshot, now, history, policy);
  const started: readonly Decision[] = planning.admissions;
  return started.concat(planning.preemptions, describeWaits(planning));
}

/** The part of a plan that changes something; spares the forecasts for those who wait. */
export function decide(
  snapshot: ClusterSnapshot,
  now: number,
  history: RunTimeHistory,
): { readonly admissions: readonly Admit[]; readonly preemptions: readonly Preempt[] } {
  return new Planning(snapshot, now, history, PRODUCT_POLICY);
}
