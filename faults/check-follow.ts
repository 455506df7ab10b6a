/** Is what `mcli logs` prints the log, at the end and all the while. */
import type { Evidence, FollowedLog, RankLog, ReadLog } from './evidence.ts';
import type { Findings } from './findings.ts';
import { Notes } from './findings.ts';
import { allLines, headOf, shown } from './log-lines.ts';
import { wasOutOfReach } from './outages.ts';

export function checkFollows(evidence: Evidence): Findings {
  const notes = new Notes();
  for (const followed of evidence.follows) checkFollowed(notes, followed, evidence);
  for (const read of evidence.reads) checkRead(notes, read, evidence);
  return notes;
}

/**
 * Each resumption in order and whole. What a node that was cut off had not sent comes when it is back: among later
 * resumptions, and perhaps after the run has ended, when nobody follows any more.
 */
function checkFollowed(
  notes: Notes,
  { run, text, exitCode, errors }: FollowedLog,
  { logs, ...evidence }: Evidence,
): void {
  notes.look('follow-whole');
  const object = (message: string): void => notes.object('follow-whole', run, `--follow ${message}`);
  if (exitCode !== 0) object(`ended with exit code ${exitCode}: ${shown(errors)}`);
  const printed = allLines(text);
  const own = logs.filter((log) => log.run === run).toSorted((a, b) => a.resumption - b.resumption);
  let earliest = 0;
  for (const log of own) {
    const part = partOf(log, printed);
    const isLate = evidence.containers.some(
      (life) => life.run === run && life.resumption === log.resumption && wasOutOfReach(evidence, life),
    );
    const where = `of resumption ${log.resumption}`;
    const { expected, lines, from, to } = part;
    const at = Array.from(lines, (line, index) => line === expected[index]).indexOf(false);
    if (at !== -1) object(`has ${shown(lines[at] ?? '')} as line ${at + 1} of ${expected.length} ${where}`);
    else if (lines.length < expected.length && !isLate) {
      object(`ends after line ${lines.length} of ${expected.length} ${where}`);
    }
    if (from < earliest) object(`begins with the lines ${where} before those of an earlier one are over`);
    if (!isLate) earliest = Math.max(earliest, to);
  }
  checkStrangers(object, printed, own);
}

/** The lines of a resumption in its log and among those that were printed, and where they stand there. */
function partOf(log: RankLog, printed: readonly string[]) {
  const head = headOf(log);
  const expected = allLines(log.text).filter((line) => line.startsWith(head));
  const lines = printed.filter((line) => line.startsWith(head));
  const from = printed.findIndex((line) => line.startsWith(head));
  const to = printed.findLastIndex((line) => line.startsWith(head));
  return { expected, lines, from: from === -1 ? Infinity : from, to };
}

/** What is no line of a program stands in a log, and as often. */
function checkStrangers(
  object: (message: string) => void,
  printed: readonly string[],
  own: readonly RankLog[],
): void {
  const heads = own.map(headOf);
  const isForeign = (line: string): boolean => !heads.some((head) => line.startsWith(head));
  const left = own.flatMap(({ text }) => allLines(text)).filter(isForeign);
  for (const line of printed.filter(isForeign)) {
    const index = left.indexOf(line);
    if (index === -1) {
      object(`printed what the log does not have: ${shown(line)}`);
      return;
    }
    left.splice(index, 1);
  }
}

function checkRead(notes: Notes, { text, exitCode, errors, ...name }: ReadLog, { logs }: Evidence): void {
  notes.look('read-whole');
  const where = `mcli logs of resumption ${name.resumption}, rank ${name.rank}`;
  const log = logs.find(
    ({ run, resumption, rank }) => run === name.run && resumption === name.resumption && rank === name.rank,
  );
  if (exitCode !== 0) notes.object('read-whole', name.run, `${where} failed: ${shown(errors)}`);
  else if (text !== log?.text) {
    const same = firstDifference(text, log?.text ?? '');
    const message = `${where} goes off the log after ${same} bytes: ${shown(text.slice(same))}`;
    notes.object('read-whole', name.run, message);
  }
}

function firstDifference(a: string, b: string): number {
  let same = 0;
  while (same < a.length && a[same] === b[same]) same += 1;
  return same;
}
