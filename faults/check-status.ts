/** Does a run end as its program, its orders and its containers say. */
import { mayHaveLostExit } from './causes.ts';
import type { Evidence, Execution, RunOrder } from './evidence.ts';
import type { Notes } from './findings.ts';
import { naturalExit } from './program.ts';

export function checkStatus(notes: Notes, evidence: Evidence, order: RunOrder, execution: Execution): void {
  const { run, closed, steps } = execution;
  notes.look('right-status');
  const last = steps.at(-1);
  const code = closed?.exitCode === undefined ? '' : ` ${closed.exitCode}`;
  const actual = `${closed?.type === 'ended' ? closed.status : closed?.type} (${last?.reason ?? ''})${code}`;
  if (closed?.type === 'ended' && closed.status !== last?.status) {
    notes.object('right-status', run, `its result says ${actual}, and its last status ${last?.status}`);
  }
  const expected = expectedEnd(order, run);
  if (actual !== expected) notes.object('right-status', run, `it ended as ${actual}, not as ${expected}`);
  checkProof(notes, evidence, { order, run, resumption: last?.resumption ?? 0 });
  if (order.hasTimeLimit) checkHasRun(notes, evidence, run, last?.resumption ?? 0);
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

/** Who ends by itself has had a container for every rank that does, and each has ended as its program says. */
function checkProof(
  notes: Notes,
  evidence: Evidence,
  { order, run, resumption }: { readonly order: RunOrder; readonly run: string; readonly resumption: number },
): void {
  for (let rank = 0; rank < order.ranks; rank += 1) {
    const expected = naturalExit(order.program, { run, resumption, rank });
    if (expected === undefined) continue;
    notes.look('right-status');
    const object = (message: string): void =>
      notes.object('right-status', run, `rank ${rank} of its last resumption ${message}`);
    const life = evidence.containers.find(
      (candidate) => candidate.run === run && candidate.resumption === resumption && candidate.rank === rank,
    );
    if (life === undefined) object('never had a container');
    else if (life.exitCode === undefined) {
      if (!mayHaveLostExit(evidence, life)) object('had a container whose exit code nobody saw');
    } else if (life.exitCode !== expected) object(`ended with exit code ${life.exitCode}, not ${expected}`);
  }
}

/**
 * Time is counted from when a run has its place: without a fault meanwhile, it has had a container. Unless it had to
 * leave that place at once: that there was a reason for it is proven elsewhere.
 */
function checkHasRun(
  notes: Notes,
  { leases, containers, faults }: Evidence,
  run: string,
  resumption: number,
): void {
  notes.look('right-status');
  if (containers.some((life) => life.run === run)) return;
  const isHindered = leases.some(
    (lease) =>
      lease.run === run &&
      (lease.resumption < resumption ||
        faults.some(
          ({ at, wellAt = Infinity }) => at <= (lease.endedAt ?? Infinity) && wellAt >= lease.grantedAt,
        )),
  );
  if (!isHindered) notes.object('right-status', run, 'its time was over, and it never had a container');
}
