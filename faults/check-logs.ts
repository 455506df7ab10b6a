/** Is every line in the log that was printed, once, in order, and as it was printed. */
import { endedByItself } from './causes.ts';
import type { ContainerLife, Evidence, RankLog, RunOrder } from './evidence.ts';
import type { Findings } from './findings.ts';
import { Notes } from './findings.ts';
import { describe, headOf, numberOf, rangesOf, shown, split } from './log-lines.ts';
import { orderOf } from './orders.ts';
import { dockerFaults } from './outages.ts';
import { farewellLines, isBeginning, isFarewell, isLine, naturalExit } from './program.ts';
import type { RankName } from './program.ts';

/** How lines begin that mcli adds to a log. */
const REMARK = '[mcli] ';
/** Who reads along has read something by then. */
const READ_WITHIN_MS = 2_000;

export function checkLogs(evidence: Evidence): Findings {
  const notes = new Notes();
  const logs = Map.groupBy(evidence.logs, keyOf);
  const lives = Map.groupBy(evidence.containers, keyOf);
  for (const key of new Set([...logs.keys(), ...lives.keys()])) {
    const log = logs.get(key)?.[0];
    const containers = lives.get(key) ?? [];
    const name = log ?? containers[0];
    const order = name && orderOf(evidence, name.run);
    if (name && order) new RankCheck(notes, evidence, { name, order, log, containers }).check();
  }
  return notes;
}

const keyOf = ({ run, resumption, rank }: RankName): string => `${run} ${resumption} ${rank}`;

interface Rank {
  readonly name: RankName;
  readonly order: RunOrder;
  readonly log: RankLog | undefined;
  readonly containers: readonly ContainerLife[];
}

interface Line {
  readonly number: number;
  /** By Docker's clock. */
  readonly at: number;
  readonly text: string;
}

class RankCheck {
  private readonly notes: Notes;
  private readonly evidence: Evidence;
  private readonly rank: Rank;
  private readonly seen: readonly string[];

  constructor(notes: Notes, evidence: Evidence, rank: Rank) {
    this.notes = notes;
    this.evidence = evidence;
    this.rank = rank;
    this.seen = rank.containers.flatMap((container) => split(container.seen).lines);
  }

  check(): void {
    const { log, containers } = this.rank;
    const { lines, rest } = split(log?.text ?? '');
    this.notes.look('lines-once', Math.max(1, lines.length));
    if (containers.length === 0) {
      if (lines.length > 0) this.object('it has a log, and no container of it was ever seen');
      return;
    }
    const timed = lines.map((text, index) => ({ text, at: log?.times[index] ?? 0 }));
    const printed = this.numbered(timed);
    this.checkOrder(printed);
    this.checkRest(rest, printed.at(-1)?.number ?? 0);
    this.checkMissing(printed);
    this.checkFarewell(printed);
    this.checkSeen(printed);
  }

  /** Without the remarks of mcli, and without what Docker has made of a torn record. */
  private numbered(lines: readonly Omit<Line, 'number'>[]): Line[] {
    const garbled = new Set(this.seen.filter((line) => this.numberIn(line) === undefined));
    return lines.flatMap(({ text, at }) => {
      const number = this.numberIn(text);
      if (number !== undefined) return [{ number, text, at }];
      const isExcused =
        this.isHurt(at, at) || (this.isHurtAtAll() && (garbled.has(text) || text.startsWith(REMARK)));
      if (!isExcused) this.object(`the log has a line that was never printed: ${shown(text)}`);
      return [];
    });
  }

  private checkOrder(lines: readonly Line[]): void {
    const known = new Set<number>();
    let last = 0;
    for (const { number } of lines) {
      if (known.has(number)) this.object(`line ${number} is doubled`);
      else if (number < last) this.object(`line ${number} comes after line ${last}`);
      known.add(number);
      last = Math.max(last, number);
    }
  }

  /** Who is killed may be so in the middle of a line; what stood before that, Docker may have lost. */
  private checkRest(rest: string, last: number): void {
    if (rest === '') return;
    const { name, order } = this.rank;
    const next = this.isHurtAtAll() ? (numberOf(name, rest) ?? last + 1) : last + 1;
    const mayBeCut =
      !this.endedByItself() &&
      (isBeginning(order.program, name, next, rest) || (this.isHurtAtAll() && headOf(name).startsWith(rest)));
    if (!mayBeCut) this.object(`the log ends with a piece: ${shown(rest)}`);
  }

  /** Whoever was killed has printed what is there; whoever came to the end of the program, all of it. */
  private checkMissing(lines: readonly Line[]): void {
    const logged = new Map(lines.map(({ number, at }) => [number, at]));
    const seen = new Set(this.seen.flatMap((line) => this.numberIn(line) ?? []));
    const lost = [...seen].filter((number) => !logged.has(number)).toSorted((a, b) => a - b);
    if (lost.length > 0) this.object(`${describe(lost)} lost, which Docker had`);
    const last = Math.max(0, ...lines.slice(-1).map(({ number }) => number));
    const printed = (this.endedByItself() ? this.rank.order.program.lines : undefined) ?? last;
    const missing = Array.from({ length: printed }, (_, index) => index + 1).filter(
      (number) => !logged.has(number) && !seen.has(number),
    );
    const inexcusable = rangesOf(missing).filter(
      ({ from, to }) =>
        !this.isHurt(logged.get(from - 1) ?? this.startedAt, logged.get(to + 1) ?? this.aliveUntil),
    );
    const numbers = missing.filter((number) =>
      inexcusable.some(({ from, to }) => from <= number && number <= to),
    );
    if (numbers.length > 0) this.object(`${describe(numbers)} lost of ${printed}`);
  }

  /** A program that is prepared for SIGTERM ends with 0 only after its last words. */
  private checkFarewell(lines: readonly Line[]): void {
    const { name, order, containers } = this.rank;
    const expected = farewellLines(order.program);
    if (expected === 0 || !containers.some(({ exitCode }) => exitCode === 0)) return;
    const said = lines.filter(({ number, text }) => isFarewell(name, number, text)).length;
    // Behind what it could not write, Docker can not read either.
    if (said >= expected || this.isHurt(lines.at(-1)?.at ?? this.startedAt, this.aliveUntil)) return;
    this.object(`it has ${said} of the ${expected} lines that its program prints before it ends`);
  }

  /** A witness that has slept proves nothing. */
  private checkSeen(lines: readonly Line[]): void {
    const printedForMs = (lines.at(-1)?.at ?? 0) - (lines[0]?.at ?? 0);
    if (printedForMs <= READ_WITHIN_MS || this.isHurtAtAll()) return;
    if (this.rank.containers.every(({ seen }) => seen === '')) this.object('nobody has read along with it');
  }

  private endedByItself(): boolean {
    const { order, containers } = this.rank;
    return this.isItsEnd() || containers.some((life) => endedByItself(this.evidence, order, life) === 'yes');
  }

  /** Whether the run has ended with the end of this program, whatever anybody saw of it. */
  private isItsEnd(): boolean {
    const { name, order } = this.rank;
    if (naturalExit(order.program, name) === undefined) return false;
    const last = this.evidence.executions.find(({ run }) => run === name.run)?.steps.at(-1);
    const hasEnded = last?.status === 'COMPLETED' || last?.status === 'FAILED';
    return hasEnded && last.resumption === name.resumption;
  }

  private isHurtAtAll(): boolean {
    return this.isHurt(this.startedAt, this.aliveUntil);
  }

  private isHurt(from: number, to: number): boolean {
    return this.rank.containers.some(
      ({ node }) => dockerFaults(this.evidence, node, { from, to }).length > 0,
    );
  }

  private get startedAt(): number {
    return Math.min(...this.rank.containers.map(({ startedAt }) => startedAt));
  }

  private get aliveUntil(): number {
    return Math.max(...this.rank.containers.map(({ aliveUntil }) => aliveUntil));
  }

  private numberIn(line: string): number | undefined {
    const { name, order } = this.rank;
    const number = numberOf(name, line);
    return number !== undefined && isLine(order.program, name, number, line) ? number : undefined;
  }

  private object(message: string): void {
    const { run, resumption, rank } = this.rank.name;
    this.notes.object('lines-once', run, `resumption ${resumption}, rank ${rank}: ${message}`);
  }
}
