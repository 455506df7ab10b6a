/** Does every run end, once, and as it must; and does none begin again that could have gone on. */
import type { Evidence, Execution, Fault, LeaseTime, RunOrder, Step } from './evidence.ts';
import type { Findings } from './check.ts';
import { faultFacts, OUTAGE_MS } from './fault-kinds.ts';
import { groupBy, Notes } from './findings.ts';
import { orderOf } from './orders.ts';
import { naturalExit } from './program.ts';

/** A run goes from smaller numbers to larger ones, and may leave some out. */
const STAGES: Readonly<Record<string, number>> = {
  PENDING: 0,
  QUEUED: 1,
  STARTING: 2,
  RUNNING: 3,
  TERMINATING: 4,
  COMPLETED: 5,
  STOPPED: 5,
  FAILED: 5,
};
const TERMINAL = new Set(['COMPLETED', 'STOPPED', 'FAILED']);
/** A container that is younger than this when its daemon dies may not have been started yet. */
const STARTING_MS = 2_000;

export function checkEnds(evidence: Evidence): Findings {
  const notes = new Notes();
  const executions = groupBy(evidence.executions, ({ run }) => run);
  for (const run of evidence.orders.flatMap(({ accepted }) => accepted)) {
    notes.look('accepted-exists');
    if (!executions.has(run)) notes.object('accepted-exists', run, 'mcli accepted it, and it is nowhere');
  }
  for (const [run, found] of executions) {
    notes.look('accepted-exists');
    const order = orderOf(evidence, run);
    if (order === undefined) {
      notes.object('accepted-exists', run, 'nobody submitted it');
      continue;
    }
    if (found.length > 1) {
      notes.object('accepted-exists', run, `it was carried out ${found.length} times: ${idsOf(found)}`);
    }
    for (const execution of found) checkExecution(notes, evidence, order, execution);
  }
  return notes;
}

function checkExecution(notes: Notes, evidence: Evidence, order: RunOrder, execution: Execution): void {
  const { run, closed, steps } = execution;
  notes.look('ends-once');
  if (closed === undefined) {
    const last = steps.at(-1);
    notes.object('ends-once', run, `it has not ended; its last status is ${last?.status ?? 'none'}`);
    return;
  }
  if (closed.type === 'refused') {
    if (order.accepted.includes(run)) notes.object('ends-once', run, 'it was accepted, and then refused');
    return;
  }
  const terminal = steps.filter(({ status }) => TERMINAL.has(status));
  if (terminal.length !== 1 || steps.at(-1) !== terminal[0]) {
    const statuses = steps.map(({ status }) => status).join(', ');
    notes.object('ends-once', run, `it has ${terminal.length} terminal statuses in ${statuses}`);
    return;
  }
  checkOrder(notes, execution);
  checkStatus(notes, order, execution);
  checkResumptions(notes, evidence, order, execution);
}

function checkOrder(notes: Notes, { run, steps }: Execution): void {
  notes.look('in-order', steps.length);
  for (const [index, step] of steps.entries()) {
    const before = steps[index - 1];
    if (before === undefined || before.resumption < step.resumption) continue;
    const goesOn =
      before.resumption === step.resumption && (STAGES[before.status] ?? 0) < (STAGES[step.status] ?? 0);
    if (goesOn) continue;
    const from = `${before.status} of resumption ${before.resumption}`;
    notes.object('in-order', run, `${from} was followed by ${step.status} of resumption ${step.resumption}`);
  }
}

function checkStatus(notes: Notes, order: RunOrder, { run, closed, steps }: Execution): void {
  notes.look('right-status');
  const last = steps.at(-1);
  const code = closed?.exitCode === undefined ? '' : ` ${closed.exitCode}`;
  const actual = `${closed?.type === 'ended' ? closed.status : closed?.type} (${last?.reason ?? ''})${code}`;
  if (closed?.type === 'ended' && closed.status !== last?.status) {
    notes.object('right-status', run, `its result says ${actual}, and its last status ${last?.status}`);
  }
  const expected = expectedEnd(order, run);
  if (actual !== expected) notes.object('right-status', run, `it ended as ${actual}, not as ${expected}`);
}

/** Written as `STATUS (reason) code`. */
function expectedEnd({ program, hasTimeLimit, stops }: RunOrder, run: string): string {
  const { end, lines } = program;
  if (lines === null) {
    if (hasTimeLimit) return 'STOPPED (MaxDuration)';
    return run in stops ? 'STOPPED (StoppedByUser)' : 'nothing: nobody stopped it';
  }
  switch (end.type) {
    case 'exit':
      return end.code === 0 ? 'COMPLETED ()' : `FAILED (NonZeroExit) ${end.code}`;
    case 'signal':
      return `FAILED (KilledBySignal) ${naturalExit(program, { run, resumption: 0, rank: 0 })}`;
    case 'fails-before':
      return 'COMPLETED ()';
    case 'rank-fails':
      return `FAILED (NonZeroExit) ${end.code}`;
  }
}

function checkResumptions(notes: Notes, evidence: Evidence, order: RunOrder, execution: Execution): void {
  const { run, steps } = execution;
  const last = steps.at(-1)?.resumption ?? 0;
  for (const { container: id } of evidence.faults) {
    const killed = evidence.containers.find((container) => container.id === id && container.run === run);
    // What ended by itself at the same moment was not killed.
    if (killed === undefined || (killed.exitCode !== undefined && killed.exitCode !== 137)) continue;
    notes.look('killed-again');
    if (last > killed.resumption || steps.at(-1)?.status === 'STOPPED') continue;
    const where = `resumption ${killed.resumption} on ${killed.node}`;
    notes.object(
      'killed-again',
      run,
      `its container was killed from outside in ${where}, and nothing followed`,
    );
  }
  if (order.maxRetries > 0 && order.program.end.type === 'exit' && order.program.end.code !== 0) {
    notes.look('right-status');
    if (last < order.maxRetries) {
      notes.object('right-status', run, `it failed for good after ${last} of ${order.maxRetries} retries`);
    }
  }
  for (let resumption = 0; resumption < last; resumption += 1) {
    notes.look('goes-on');
    if (hasCause(evidence, order, execution, resumption)) continue;
    const step = steps.findLast((candidate) => candidate.resumption === resumption);
    const next = steps.find((candidate) => candidate.resumption > resumption);
    const said = next?.message || step?.message || 'nothing';
    notes.object('goes-on', run, `resumption ${resumption} was given up without a cause; mcli says: ${said}`);
  }
}

/** Why a resumption was not the last. */
function hasCause(
  { leases, faults, containers }: Evidence,
  { program, ranks, maxRetries, preemptible }: RunOrder,
  { run, steps }: Execution,
  resumption: number,
): boolean {
  if (preemptible && wasPreempted(steps, resumption)) return true;
  const fails = Array.from({ length: ranks }, (_, rank) => naturalExit(program, { run, resumption, rank }));
  if (maxRetries > 0 && fails.some((code) => code !== undefined && code !== 0)) return true;
  const lives = containers.filter((life) => life.run === run && life.resumption === resumption);
  if (lives.some(({ id }) => faults.some(({ container }) => container === id))) return true;
  const lease = leases.find((candidate) => candidate.run === run && candidate.resumption === resumption);
  if (lease === undefined) return false;
  const hits = faults.filter((fault) => touches(fault, lease));
  return (
    hits.some(({ kind }) => faultFacts(kind).runs === 'may-begin-again') ||
    longestOutageMs(hits.filter(({ kind }) => !DOCKER_FAULTS.has(kind))) >= OUTAGE_MS ||
    hits.some(
      ({ kind, at }) =>
        (DOCKER_FAULTS.has(kind) || kind === 'kill-everything') &&
        lives.filter(({ startedAt, aliveUntil }) => startedAt + STARTING_MS < at && aliveUntil >= at).length <
          ranks,
    )
  );
}

const DOCKER_FAULTS = new Set(['kill-dockerd', 'fill-disk']);
/** Faults of the whole stack keep every node from the control plane. */
const ON_ALL_NODES = new Set(['kill-temporal', 'kill-everything', 'kill-cluster-worker', 'restart-workers']);

function touches({ kind, target, at, mendedAt, wellAt }: Fault, lease: LeaseTime): boolean {
  const isNear = ON_ALL_NODES.has(kind) || lease.ranks.some(({ node }) => node === target);
  return isNear && at <= (lease.endedAt ?? Infinity) && (wellAt ?? mendedAt) >= lease.grantedAt;
}

/** Disturbances that follow each other at once are one. */
function longestOutageMs(faults: readonly Fault[]): number {
  let longest = 0;
  let from = -Infinity;
  let to = -Infinity;
  for (const { at, mendedAt, wellAt } of faults.toSorted((a, b) => a.at - b.at)) {
    if (at > to) from = at;
    to = Math.max(to, wellAt ?? mendedAt);
    longest = Math.max(longest, to - from);
  }
  return longest;
}

function wasPreempted(steps: readonly Step[], resumption: number): boolean {
  const last = steps.findLast((step) => step.resumption === resumption);
  const next = steps.find((step) => step.resumption > resumption);
  return last?.reason === 'Preempted' || next?.reason === 'Preempted';
}

const idsOf = (executions: readonly Execution[]): string =>
  executions.map(({ executionId }) => executionId).join(', ');
