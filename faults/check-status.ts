/** Does a run end as its program and its orders say. */
import type { Execution, RunOrder } from './evidence.ts';
import type { Notes } from './findings.ts';
import { naturalExit } from './program.ts';

export function checkStatus(notes: Notes, order: RunOrder, execution: Execution): void {
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
