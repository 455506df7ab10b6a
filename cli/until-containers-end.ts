/** The end of a run whose workflow somebody has ended in Temporal itself: its containers go on until their agents notice. */
import { ABRUPT_END } from '../client/run-history.ts';
import type { RunDetails } from '../client/index.ts';
import { DEFAULT_GRACE_MS } from '../core/run.ts';
import type { Mcli } from './context.ts';

/** Agents look every 10 s, give the usual grace, and ship what is left; one that is away is not waited for. */
const ORPHAN_MS = 10_000 + DEFAULT_GRACE_MS + 10_000;

export async function untilContainersEnd(mcli: Mcli, run: RunDetails, signal: AbortSignal): Promise<void> {
  const { name, resumption, reason, lifecycle, resources, endedAt } = run;
  const before = lifecycle.at(-2)?.status;
  const hadContainers = before === 'RUNNING' || before === 'TERMINATING';
  if (reason !== ABRUPT_END.reason || !hadContainers || !resources || !endedAt) return;
  const leftMs = endedAt.getTime() + ORPHAN_MS - Date.now();
  if (leftMs <= 0) return;
  const limit = AbortSignal.any([signal, AbortSignal.timeout(leftMs)]);
  // Whoever reads the log waits for a log server that is away.
  await mcli.logs.untilEnded({ run: name, resumption, ranks: resources.nodes }, limit).catch(() => undefined);
}
