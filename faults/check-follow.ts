/** Is what `mcli logs --follow` prints the log. */
import type { Evidence, FollowedLog } from './evidence.ts';
import type { Findings } from './check.ts';
import { Notes } from './findings.ts';
import { allLines, headOf, shown } from './log-lines.ts';
import { wasOutOfReach } from './outages.ts';

export function checkFollows(evidence: Evidence): Findings {
  const notes = new Notes();
  for (const followed of evidence.follows) checkFollowed(notes, followed, evidence);
  return notes;
}

/**
 * Each resumption in order and whole. What a node that was cut off had not sent comes when it is back: among later
 * resumptions, and perhaps after the run has ended, when nobody follows any more.
 */
function checkFollowed(notes: Notes, { run, text, exitCode, errors }: FollowedLog, evidence: Evidence): void {
  notes.look('follow-whole');
  const object = (message: string): void =>
    notes.object('follow-whole', run, `${message} (exit code ${exitCode}, ${shown(errors)})`);
  const { logs, containers } = evidence;
  const own = logs.filter((log) => log.run === run);
  const last = Math.max(...own.map(({ resumption }) => resumption));
  const lives = containers.filter((life) => life.run === run && life.resumption === last);
  const mayComeLate = lives.some((life) => wasOutOfReach(evidence, life));
  const left = new Set(allLines(text));
  for (const log of own) {
    const head = headOf(log);
    const kept = allLines(log.text);
    const expected = kept.filter((line) => line.startsWith(head));
    const lines = allLines(text).filter((line) => line.startsWith(head));
    for (const line of [...kept, ...lines]) left.delete(line);
    const at = Array.from(lines, (line, index) => line === expected[index]).indexOf(false);
    const where = `--follow is not the log of resumption ${log.resumption}`;
    if (at !== -1) {
      object(`${where}: it has ${shown(lines[at] ?? '')} as line ${at + 1} of ${expected.length}`);
    } else if (lines.length < expected.length && log.resumption === last && !mayComeLate) {
      object(`${where}: it ends after line ${lines.length} of ${expected.length}`);
    }
  }
  const [stranger] = left;
  if (stranger !== undefined) object(`--follow printed what the log does not have: ${shown(stranger)}`);
}
