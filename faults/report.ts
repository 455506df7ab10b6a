/** What the suite tells in the end: counts, times to recover, violations. */
import { alignColumns } from '../cli/output/table.ts';
import type { Findings, Invariant, Violation } from './findings.ts';
import { INVARIANTS } from './findings.ts';
import { causesOf } from './causes.ts';
import type { Cause } from './causes.ts';
import type { Evidence, Fault } from './evidence.ts';
import { orderOf } from './orders.ts';
import { timelineOf } from './timeline.ts';

export interface Report {
  readonly seed: number;
  readonly seconds: number;
  readonly runs: Readonly<Record<string, number>>;
  readonly resumptions: number;
  /** Why runs have begun again; one may have several causes. */
  readonly causes: Readonly<Partial<Record<Cause, number>>>;
  readonly containers: number;
  readonly lines: number;
  readonly faults: readonly FaultRow[];
  /** Kinds of faults that found nothing to hit. */
  readonly skipped: Evidence['skipped'];
  /** How often each invariant was looked at. */
  readonly looks: Findings['looks'];
  readonly violations: readonly Violation[];
}

/** Seconds from the end of the disturbance until what it had hit was well again. */
interface FaultRow {
  readonly kind: string;
  readonly count: number;
  readonly medianSeconds: number | null;
  readonly worstSeconds: number | null;
  /** Faults after which it was not seen to be well. */
  readonly neverWell: number;
  /** All of them, sorted: what reports of several seeds can be put together by. */
  readonly seconds: readonly number[];
}

export function makeReport(evidence: Evidence, findings: Findings, seconds: number): Report {
  const statuses = Map.groupBy(evidence.executions, ({ closed }) => closed?.status ?? closed?.type ?? 'open');
  return {
    seed: evidence.seed,
    seconds: Math.round(seconds),
    runs: Object.fromEntries([...statuses].map(([status, runs]) => [status, runs.length])),
    resumptions: evidence.executions.reduce((sum, { steps }) => sum + (steps.at(-1)?.resumption ?? 0), 0),
    causes: causeCounts(evidence),
    containers: evidence.containers.length,
    lines: evidence.logs.reduce((sum, { text }) => sum + text.split('\n').length - 1, 0),
    faults: [...faultRows(evidence.faults), ...lossRows(evidence)],
    skipped: evidence.skipped,
    looks: findings.looks,
    violations: findings.violations,
  };
}

function causeCounts(evidence: Evidence): Report['causes'] {
  const causes = evidence.executions.flatMap((execution) => {
    const order = orderOf(evidence, execution.run);
    const last = execution.steps.at(-1)?.resumption ?? 0;
    return Array.from({ length: order ? last : 0 }, (_, index) =>
      order ? causesOf(evidence, { order, execution, index }) : [],
    ).flat();
  });
  return Object.fromEntries([...Map.groupBy(causes, String)].map(([cause, found]) => [cause, found.length]));
}

function faultRows(faults: readonly Fault[]): FaultRow[] {
  return [...Map.groupBy(faults, ({ kind }) => kind)]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([kind, hits]) =>
      row(
        kind,
        hits.map(({ mendedAt, wellAt }) => (wellAt === undefined ? undefined : wellAt - mendedAt)),
      ),
    );
}

/** From the moment at which a node was cut off or frozen: what the runs on it show. */
function lossRows({ faults, containers, executions }: Evidence): FaultRow[] {
  const noticed: (number | undefined)[] = [];
  const queued: (number | undefined)[] = [];
  for (const { kind, target, at, mendedAt } of faults) {
    if (kind !== 'cut-node-long' && kind !== 'stall-agent-long') continue;
    const lives = containers.filter(
      ({ node, startedAt, aliveUntil }) => node === target && startedAt <= at && aliveUntil > at,
    );
    for (const { run, resumption } of lives) {
      const steps = executions.filter((execution) => execution.run === run).flatMap(({ steps }) => steps);
      const lost = steps.find(
        (step) => step.at > at && step.resumption === resumption && step.reason === 'NodeLost',
      );
      // It ended before anybody noticed, or because somebody stopped it.
      if (lost === undefined || lost.at > mendedAt) continue;
      const next = steps.find((step) => step.resumption > resumption);
      noticed.push(lost.at - at);
      queued.push(next && next.at - at);
    }
  }
  if (noticed.length === 0) return [];
  return [
    row('(run of a lost node: loss noticed)', noticed),
    row('(run of a lost node: queued again)', queued),
  ];
}

function row(kind: string, milliseconds: readonly (number | undefined)[]): FaultRow {
  const seconds = milliseconds
    .filter((ms) => ms !== undefined)
    .map((ms) => Math.round(ms / 100) / 10)
    .toSorted((a, b) => a - b);
  return {
    kind,
    count: milliseconds.length,
    medianSeconds: seconds[Math.floor(seconds.length / 2)] ?? null,
    worstSeconds: seconds.at(-1) ?? null,
    neverWell: milliseconds.length - seconds.length,
    seconds,
  };
}

export function renderReport(report: Report, evidence: Evidence): string {
  const general = [faultTable(report), invariantTable(report), summaryOf(report)];
  const violations = [...Map.groupBy(report.violations, ({ run }) => run ?? '')].map(([run, own]) =>
    violationsOf(evidence, run, own),
  );
  const verdict =
    report.violations.length === 0
      ? `✔ Seed ${report.seed}: nothing lost, nothing doubled.`
      : `✗ Seed ${report.seed}: ${count(report.violations.length, 'violation')}.`;
  return [...general, ...violations, verdict].join('\n\n');
}

const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? '' : 's'}`;

function faultTable({ faults, skipped }: Report): string {
  const shown = (seconds: number | null): string => (seconds === null ? '-' : seconds.toFixed(1));
  const rows = faults.map(({ kind, count, medianSeconds, worstSeconds, neverWell }) => [
    kind,
    String(count),
    shown(medianSeconds),
    shown(worstSeconds),
    neverWell === 0 ? '' : String(neverWell),
  ]);
  return [
    alignColumns([['FAULT', 'COUNT', 'MEDIAN', 'WORST', 'NEVER WELL'], ...rows]),
    '(seconds until what was hit was well again)',
    ...(skipped.length === 0 ? [] : [`! Found nothing to hit: ${skipped.join(', ')}`]),
  ].join('\n');
}

function invariantTable({ looks, violations }: Report): string {
  const violated = Map.groupBy(violations, ({ invariant }) => invariant);
  const rows = INVARIANT_NAMES.map((invariant) => [
    INVARIANTS[invariant],
    String(looks[invariant] ?? 0),
    String(violated.get(invariant)?.length ?? 0),
  ]);
  // What nobody has looked at is not proven.
  const unseen = INVARIANT_NAMES.filter((invariant) => !looks[invariant]);
  return [
    alignColumns([['INVARIANT', 'LOOKS', 'VIOLATIONS'], ...rows]),
    ...unseen.map(
      (invariant) => `! NOT PROVEN, since there was nothing to look at: ${INVARIANTS[invariant]}`,
    ),
  ].join('\n');
}

const INVARIANT_NAMES = Object.keys(INVARIANTS) as Invariant[];

function summaryOf({ runs, resumptions, causes, containers, lines, seconds }: Report): string {
  const listed = (counts: object): string =>
    Object.entries(counts)
      .map(([what, number]) => `${number} ${what}`)
      .join(', ');
  return [
    `Runs: ${listed(runs)}; ${containers} containers, ${lines} lines of log, ${seconds} s`,
    `Further resumptions: ${resumptions}${resumptions === 0 ? '' : `; why: ${listed(causes)}`}`,
  ].join('\n');
}

function violationsOf(evidence: Evidence, run: string, violations: readonly Violation[]): string {
  return [
    `✗ ${run || 'in general'}`,
    ...violations.map(({ invariant, message }) => `  ${INVARIANTS[invariant]}: ${message}`),
    ...(run === '' ? [] : timelineOf(evidence, run).map((line) => `  ${line}`)),
  ].join('\n');
}
