/** Is every run there that was accepted, does it end, and once, and do its statuses go forward. */
import { checkResumptions } from './check-resumptions.ts';
import { checkStatus } from './check-status.ts';
import type { Evidence, Execution, RunOrder } from './evidence.ts';
import type { Findings } from './findings.ts';
import { Notes } from './findings.ts';
import { orderOf } from './orders.ts';

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

export function checkEnds(evidence: Evidence): Findings {
  const notes = new Notes();
  const executions = Map.groupBy(evidence.executions, ({ run }) => run);
  for (const run of evidence.orders.flatMap(({ accepted }) => accepted)) {
    notes.look('accepted-exists');
    if (!executions.has(run)) notes.object('accepted-exists', run, 'mcli accepted it, and it is nowhere');
  }
  for (const order of evidence.orders) checkSubmission(notes, evidence, order);
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

/** Somebody has asked for it until it was accepted; who was not answered may have been heard all the same. */
function checkSubmission(notes: Notes, evidence: Evidence, order: RunOrder): void {
  const { name, accepted, unanswered } = order;
  notes.look('accepted-exists');
  const runs = evidence.executions
    .filter(({ run, closed }) => closed?.type !== 'refused' && orderOf(evidence, run) === order)
    .map(({ run }) => run);
  if (accepted.length === 0 && runs.length === 0) {
    notes.object(
      'accepted-exists',
      name,
      `mcli never accepted it, however often it was asked: ${unanswered}`,
    );
  }
  const most = accepted.length + unanswered;
  if (new Set(runs).size <= most) return;
  notes.object(
    'accepted-exists',
    name,
    `${most} submissions have become ${runs.length} runs: ${runs.join(', ')}`,
  );
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
  checkStatus(notes, evidence, order, execution);
  checkResumptions(notes, evidence, { order, execution });
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

const idsOf = (executions: readonly Execution[]): string =>
  executions.map(({ executionId }) => executionId).join(', ');
