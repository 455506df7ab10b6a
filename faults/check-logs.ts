/** Is every line in the log that was printed, once, in order, and as it was printed. */
import type { ContainerLife, Evidence, Fault, FollowedLog, RankLog, RunOrder } from './evidence.ts';
import type { Findings } from './check.ts';
import { groupBy, Notes } from './findings.ts';
import { orderOf } from './orders.ts';
import { wasOutOfReach } from './outages.ts';
import { isLine, lineOf, naturalExit } from './program.ts';
import type { RankName } from './program.ts';

/** Docker itself may lose what it had read from the pipe, and what it cannot write. */
const DOCKER_MAY_LOSE = new Set(['kill-dockerd', 'kill-everything', 'fill-disk']);
/** How lines begin that mcli adds to a log. */
const REMARK = '[mcli] ';
const SHOWN_CHARACTERS = 80;

export function checkLogs(evidence: Evidence): Findings {
  const notes = new Notes();
  const logs = groupBy(evidence.logs, keyOf);
  const lives = groupBy(evidence.containers, keyOf);
  for (const key of new Set([...logs.keys(), ...lives.keys()])) {
    const log = logs.get(key)?.[0];
    const containers = lives.get(key) ?? [];
    const name = log ?? containers[0];
    const order = name && orderOf(evidence, name.run);
    if (name && order) checkRank(notes, { name, order, log, containers, faults: evidence.faults });
  }
  for (const followed of evidence.follows) checkFollowed(notes, followed, evidence);
  return notes;
}

const keyOf = ({ run, resumption, rank }: RankName): string => `${run} ${resumption} ${rank}`;

interface RankEvidence {
  readonly name: RankName;
  readonly order: RunOrder;
  readonly log: RankLog | undefined;
  readonly containers: readonly ContainerLife[];
  readonly faults: readonly Fault[];
}

function checkRank(notes: Notes, { name, order, log, containers, faults }: RankEvidence): void {
  const { program } = order;
  const object = (message: string): void =>
    notes.object('lines-once', name.run, `resumption ${name.resumption}, rank ${name.rank}: ${message}`);
  const { lines, rest } = split(log?.text ?? '');
  notes.look('lines-once', Math.max(1, lines.length));
  if (containers.length === 0) {
    if (lines.length > 0) object('it has a log, and no container of it was ever seen');
    return;
  }
  const mayBeIncomplete = containers.some((container) => faults.some((fault) => mayLose(fault, container)));
  const seenLines = containers.flatMap((container) => split(container.seen).lines);
  const printedNumber = (line: string): number | undefined => {
    const number = numberOf(name, line);
    return number !== undefined && isLine(program, name, number, line) ? number : undefined;
  };
  const garbled = new Set(seenLines.filter((line) => printedNumber(line) === undefined));
  const logged = new Set<number>();
  let previous = 0;
  for (const line of lines) {
    // The log says so itself where Docker has lost something; without a cause it must not. What Docker has made of a
    // torn record is Docker's.
    if (mayBeIncomplete && (line.startsWith(REMARK) || garbled.has(line))) continue;
    const number = printedNumber(line);
    if (number === undefined) {
      object(`the log has a line that was never printed: ${shown(line)}`);
      continue;
    }
    if (logged.has(number)) object(`line ${number} is doubled`);
    else if (number < previous) object(`line ${number} comes after line ${previous}`);
    logged.add(number);
    previous = Math.max(previous, number);
  }
  const isNatural = containers.some((container) => endedByItself(order, container, faults));
  const mayBeCut = !isNatural && lineOf(program, name, previous + 1).startsWith(rest);
  if (rest !== '' && !mayBeCut) object(`the log ends with a piece: ${shown(rest)}`);

  const seen = new Set(seenLines.flatMap((line) => printedNumber(line) ?? []));
  const lost = [...seen].filter((number) => !logged.has(number));
  if (lost.length > 0) object(`${describe(lost)} lost, which Docker had`);
  if (mayBeIncomplete) return;
  const printed = isNatural && program.lines !== null ? program.lines : previous;
  const missing = Array.from({ length: printed }, (_, index) => index + 1).filter(
    (number) => !logged.has(number) && !seen.has(number),
  );
  if (missing.length > 0) object(`${describe(missing)} lost of ${printed}`);
}

/** Programs that are prepared for SIGTERM may end as if they had come to their end. */
function endedByItself(
  { program }: RunOrder,
  { id, exitCode, ...name }: ContainerLife,
  faults: readonly Fault[],
) {
  const wasKilled = faults.some(({ container }) => container === id);
  return (
    program.onTerm === 'unprepared' &&
    exitCode !== undefined &&
    !wasKilled &&
    exitCode === naturalExit(program, name)
  );
}

function mayLose({ kind, target, at, mendedAt }: Fault, container: ContainerLife): boolean {
  const isHere = kind === 'kill-everything' || target === container.node;
  return DOCKER_MAY_LOSE.has(kind) && isHere && at <= container.aliveUntil && mendedAt >= container.startedAt;
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

/** Numbers as people write them: `lines 3-7, 9 (6 in all) are`. */
function describe(numbers: readonly number[]): string {
  const sorted = numbers.toSorted((a, b) => a - b);
  const ranges: [number, number][] = [];
  for (const number of sorted) {
    const last = ranges.at(-1);
    if (last && last[1] === number - 1) last[1] = number;
    else ranges.push([number, number]);
  }
  const texts = ranges.slice(0, 5).map(([from, to]) => (from === to ? String(from) : `${from}-${to}`));
  const more = ranges.length > 5 ? ', …' : '';
  return `lines ${texts.join(', ')}${more} (${numbers.length} in all) are`;
}

const headOf = ({ run, resumption, rank }: RankName): string => `${run} ${resumption}.${rank} `;

function numberOf(name: RankName, line: string): number | undefined {
  const head = headOf(name);
  const number = line.startsWith(head) ? Number.parseInt(line.slice(head.length), 10) : NaN;
  return Number.isNaN(number) ? undefined : number;
}

function split(text: string): { lines: string[]; rest: string } {
  const lines = text.split('\n');
  const rest = lines.pop() ?? '';
  return { lines, rest };
}

const allLines = (text: string): string[] => text.split('\n').filter((line) => line !== '');
const shown = (text: string): string => JSON.stringify(text.slice(0, SHOWN_CHARACTERS));
