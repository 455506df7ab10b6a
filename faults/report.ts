/** What the suite tells in the end: counts, times to recover, violations. */
import { alignColumns } from '../cli/output/table.ts';
import type { Findings, Violation } from './check.ts';
import { INVARIANTS } from './check.ts';
import type { Evidence, Fault } from './evidence.ts';
import { groupBy } from './findings.ts';
import { timelineOf } from './timeline.ts';

export interface Report {
  readonly seed: number;
  readonly seconds: number;
  readonly runs: Readonly<Record<string, number>>;
  readonly resumptions: number;
  readonly containers: number;
  readonly lines: number;
  readonly faults: readonly FaultRow[];
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
  const statuses = groupBy(evidence.executions, ({ closed }) => closed?.status ?? closed?.type ?? 'open');
  return {
    seed: evidence.seed,
    seconds: Math.round(seconds),
    runs: Object.fromEntries([...statuses].map(([status, runs]) => [status, runs.length])),
    resumptions: evidence.executions.reduce((sum, { steps }) => sum + (steps.at(-1)?.resumption ?? 0), 0),
    containers: evidence.containers.length,
    lines: evidence.logs.reduce((sum, { text }) => sum + text.split('\n').length - 1, 0),
    faults: [...faultRows(evidence.faults), ...lossRows(evidence)],
    looks: findings.looks,
    violations: findings.violations,
  };
}

function faultRows(faults: readonly Fault[]): FaultRow[] {
  return [...groupBy(faults, ({ kind }) => kind)]
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

export function printReport(report: Report, evidence: Evidence): void {
  const shown = (seconds: number | null): string => (seconds === null ? '-' : seconds.toFixed(1));
  console.log(
    alignColumns([
      ['FAULT', 'COUNT', 'MEDIAN', 'WORST', 'NEVER WELL'],
      ...report.faults.map(({ kind, count, medianSeconds, worstSeconds, neverWell }) => [
        kind,
        String(count),
        shown(medianSeconds),
        shown(worstSeconds),
        neverWell === 0 ? '' : String(neverWell),
      ]),
    ]),
  );
  console.log('(seconds until what was hit was well again)\n');
  const violated = groupBy(report.violations, ({ invariant }) => invariant);
  console.log(
    alignColumns([
      ['INVARIANT', 'LOOKS', 'VIOLATIONS'],
      ...Object.entries(INVARIANTS).map(([invariant, meaning]) => [
        meaning,
        String(report.looks[invariant as keyof typeof INVARIANTS] ?? 0),
        String(violated.get(invariant)?.length ?? 0),
      ]),
    ]),
  );
  const runs = Object.entries(report.runs).map(([status, count]) => `${count} ${status}`);
  console.log(
    `\nRuns: ${runs.join(', ')}; ${report.resumptions} further resumptions, ${report.containers} containers, ` +
      `${report.lines} lines of log, ${report.seconds} s`,
  );
  for (const [run, violations] of groupBy(report.violations, (violation) => violation.run ?? '')) {
    console.log(`\n✗ ${run || 'in general'}`);
    for (const { invariant, message } of violations) console.log(`  ${INVARIANTS[invariant]}: ${message}`);
    if (run)
      console.log(
        timelineOf(evidence, run)
          .map((line) => `  ${line}`)
          .join('\n'),
      );
  }
  console.log(
    report.violations.length === 0
      ? `\n✔ Seed ${report.seed}: nothing lost, nothing doubled.`
      : `\n✗ Seed ${report.seed}: ${report.violations.length} violations.`,
  );
}
