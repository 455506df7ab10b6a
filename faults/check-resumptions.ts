/** Does a run begin again when it must, and never when it could have gone on. */
import { causesOf, endedByItself, livesOf, wasKilled } from './causes.ts';
import type { Resumption } from './causes.ts';
import type { ContainerLife, Evidence, Execution, RunOrder } from './evidence.ts';
import type { Notes } from './findings.ts';
import { orderOf } from './orders.ts';
import { naturalExit } from './program.ts';

export function checkResumptions(
  notes: Notes,
  evidence: Evidence,
  { order, execution }: Omit<Resumption, 'index'>,
): void {
  for (const resumption of allBut(1, order, execution)) {
    notes.look('goes-on');
    if (causesOf(evidence, resumption).length > 0) continue;
    const said = wordsFor(resumption);
    const message = `resumption ${resumption.index} was given up without a cause; mcli says: ${said}`;
    notes.object('goes-on', execution.run, message);
  }
  checkKilled(notes, evidence, execution);
  if (order.maxRetries > 0) checkRetries(notes, evidence, { order, execution });
}

const lastOf = ({ steps }: Execution): number => steps.at(-1)?.resumption ?? 0;

/** All resumptions but so many at the end. */
const allBut = (count: number, order: RunOrder, execution: Execution): Resumption[] =>
  Array.from({ length: lastOf(execution) + 1 - count }, (_, index) => ({ order, execution, index }));

function wordsFor({ execution: { steps }, index }: Resumption): string {
  const last = steps.findLast(({ resumption }) => resumption === index);
  const next = steps.find(({ resumption }) => resumption > index);
  return next?.message || last?.message || 'nothing';
}

function checkKilled(notes: Notes, evidence: Evidence, { run, steps }: Execution): void {
  for (const fault of evidence.faults.filter(({ isUncertain }) => isUncertain !== true)) {
    const killed = evidence.containers.find((life) => life.run === run && wasKilled(life, fault));
    if (killed === undefined) continue;
    notes.look('killed-again');
    const last = steps.at(-1);
    const hasFollowed =
      last !== undefined && (last.resumption > killed.resumption || last.status === 'STOPPED');
    if (hasFollowed || hadEnded(evidence, killed, fault.at)) continue;
    const where = `resumption ${killed.resumption} on ${killed.node}`;
    const message = `its container was killed from outside in ${where}, and nothing followed`;
    notes.object('killed-again', run, message);
  }
}

/** Before it was gone, it or another rank had come to the end that the run then has. */
function hadEnded(evidence: Evidence, { run, resumption, aliveUntil }: ContainerLife, at: number): boolean {
  const order = orderOf(evidence, run);
  return evidence.containers.some(
    (life) =>
      life.run === run &&
      life.resumption === resumption &&
      life.aliveUntil <= Math.max(at, aliveUntil) &&
      order !== undefined &&
      endedByItself(evidence, order, life) !== 'no',
  );
}

/** Only failures of its own use up the retries of a run, and all of them do. */
function checkRetries(
  notes: Notes,
  evidence: Evidence,
  { order, execution }: Omit<Resumption, 'index'>,
): void {
  notes.look('right-status');
  const { maxRetries } = order;
  const ends = allBut(0, order, execution).map((resumption) => howItFailed(evidence, resumption));
  const sure = ends.filter((end) => end === 'yes').length;
  const most = ends.filter((end) => end !== 'no').length;
  const isFailed = execution.steps.at(-1)?.status === 'FAILED';
  const allowed = isFailed ? maxRetries + 1 : maxRetries;
  const said = `of its own failures, with ${maxRetries} retries`;
  if (sure > allowed) notes.object('right-status', execution.run, `it went on after ${sure} ${said}`);
  else if (isFailed && most < allowed) {
    notes.object('right-status', execution.run, `it failed for good after ${most} ${said}`);
  }
}

/** Whether a resumption ended with a failure of the program; perhaps, when another cause came to it. */
function howItFailed(evidence: Evidence, resumption: Resumption): 'yes' | 'maybe' | 'no' {
  const failing = livesOf(evidence, resumption).filter(
    (life) => (naturalExit(resumption.order.program, life) ?? 0) !== 0,
  );
  const ends = failing.map((life) => endedByItself(evidence, resumption.order, life));
  if (ends.every((end) => end === 'no')) return 'no';
  const isLast = resumption.index === lastOf(resumption.execution);
  const others = isLast ? [] : causesOf(evidence, resumption).filter((cause) => cause !== 'failed');
  return ends.includes('yes') && others.length === 0 ? 'yes' : 'maybe';
}
