/** What happened to one run, and around it, in order of time: for people who look for the cause of a violation. */
import type { Evidence } from './evidence.ts';

/** Lines like `  12.345  container of rank 0 started on node-a`; times are seconds since the run was submitted. */
export function timelineOf(evidence: Evidence, run: string): string[] {
  const executions = evidence.executions.filter((execution) => execution.run === run);
  const from = Math.min(...executions.map(({ startedAt }) => startedAt));
  const to = Math.max(...executions.map(({ closed }) => closed?.at ?? evidence.until));
  const events: [at: number, what: string][] = [];
  for (const { startedAt, executionId, steps, closed } of executions) {
    events.push([startedAt, `submitted (${executionId})`]);
    for (const { at, status, reason, resumption, message } of steps) {
      const why = reason && ` (${reason})`;
      events.push([at, `status ${status}${why}, resumption ${resumption}${message && `: ${message}`}`]);
    }
    if (closed) events.push([closed.at, `closed: ${closed.type} ${closed.status ?? ''}`]);
  }
  for (const order of evidence.orders) {
    const at = order.stops[run];
    if (at !== undefined) events.push([at, 'mcli stop run']);
  }
  for (const lease of evidence.leases.filter((lease) => lease.run === run)) {
    const where = lease.ranks.map(({ node, gpuIds }) => `${node}[${gpuIds.join(',')}]`).join(' ');
    const name = `lease ${lease.fence} of resumption ${lease.resumption}`;
    events.push([lease.grantedAt, `${name} granted: ${where}`]);
    if (lease.endedAt !== undefined) events.push([lease.endedAt, `${name} given back`]);
  }
  for (const life of evidence.containers.filter((life) => life.run === run)) {
    const name = `container ${life.resumption}.${life.rank} on ${life.node}`;
    const lines = life.seen.split('\n').length - 1;
    events.push([life.startedAt, `${name} started (${life.id.slice(0, 12)})`]);
    events.push([
      life.aliveUntil,
      `${name} ended, exit code ${life.exitCode ?? 'unknown'}, ${lines} lines seen`,
    ]);
  }
  for (const { kind, target, at, mendedAt, wellAt } of evidence.faults) {
    events.push([at, `FAULT ${kind} ${target}`]);
    if (mendedAt > at) events.push([mendedAt, `mended: ${kind} ${target}`]);
    if (wellAt !== undefined) events.push([wellAt, `well again: ${kind} ${target}`]);
  }
  const margin = 5_000;
  return events
    .filter(([at]) => at >= from - margin && at <= to + margin)
    .toSorted(([a], [b]) => a - b)
    .map(([at, what]) => `${((at - from) / 1000).toFixed(3).padStart(9)}  ${what}`);
}
