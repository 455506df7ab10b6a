/** Did the suite do what it set out to do, and was everything well again after it. */
import type { Evidence } from './evidence.ts';
import type { Findings } from './findings.ts';
import { Notes } from './findings.ts';

/** Some come at the end, when nothing is left to be killed. */
const LEAST_HITS = 0.8;

export function checkFaults({ faults, skipped, executions }: Evidence): Findings {
  const notes = new Notes();
  const runs = new Set(executions.map(({ run }) => run));
  for (const { kind, target, wellAt } of faults) {
    notes.look('well-again');
    if (wellAt !== undefined) continue;
    const run = runs.has(target) ? target : undefined;
    notes.object('well-again', run, `after ${kind} of ${target}, that was not seen to be well again`);
  }
  const planned = faults.length + skipped.length;
  notes.look('faults-hit', planned);
  if (faults.length < LEAST_HITS * planned) {
    const message = `${faults.length} of ${planned} faults have hit something; not so ${skipped.join(', ')}`;
    notes.object('faults-hit', undefined, message);
  }
  return notes;
}
