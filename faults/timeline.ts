/** What happened to one run, and around it, in order of time: for people who look for the cause of a violation. */
import type { Evidence } from './evidence.ts';

const MARGIN_MS = 5_000;

/**
 * Lines like `  12.345  container of rank 0 started on node-a`; times are seconds since the run was submitted. Of a run
 * that is nowhere: all that happened to others, since the first of it.
 */
export function timelineOf(evidence: Evidence, run: string): string[] {
  const executions = evidence.executions.filter((execution) => execution.run === run);
  const isNowhere = executions.length === 0;
  const beginnings = isNowhere
    ? evidence.faults.map(({ at }) => at)
    : executions.map(({ startedAt }) => startedAt);
  const from = Math.min(...beginnings);
  const to = isNowhere ? Infinity : Math.max(...executions.map(({ closed }) => closed?.at ?? evidence.until));
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
    if (mendedAt > at && mendedAt < Infinity) events.push([mendedAt, `mended: ${kind} ${target}`]);
    if (wellAt !== undefined) events.push([wellAt, `well again: ${kind} ${target}`]);
  }
  for (const silence of evidence.silences) {
    const seconds = ((silence.to - silence.from) / 1000).toFixed(1);
    events.push([silence.from, `nothing heard of ${silence.node} for ${seconds} s from here on`]);
  }
  for (const { node, at } of evidence.losses) events.push([at, `${node} given up`]);
  return events
    .filter(([at]) => at >= from - MARGIN_MS && at <= to + MARGIN_MS)
    .toSorted(([a], [b]) => a - b)
    .map(([at, what]) => `${((at - from) / 1000).toFixed(3).padStart(9)}  ${what}`);
}
