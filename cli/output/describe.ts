/** `mcli describe run`: metadata, lifecycle and submitted YAML, as the page shows them. */
import type { LifecycleStep, RunDetails, TrackerState } from '../../client/index.ts';
import { failureClass } from '../../core/failures.ts';
import { progressOf } from '../../core/rank-report.ts';
import type { RankReport } from '../../core/rank-report.ts';
import type { QueuePosition } from '../../workflows/messages.ts';
import { displayExpectedEnd, earliestEnd, progressAsJson, progressRows } from './progress.ts';
import { statusWithReason } from './runs.ts';
import { alignColumns, renderTable } from './table.ts';
import type { Column } from './table.ts';
import { displayDuration, displayTime, iso } from './time.ts';
import { trackerAsJson, trackerRows } from './trackers.ts';
import { hasUsage, usageAsJson, usageTable } from './usage.ts';
import { displayBand } from './util.ts';

/** What others than the run's history know. */
export interface DescriptionParts {
  /** Where a queued run stands; absent where nobody could tell. */
  readonly waiting: QueuePosition | undefined;
  /** Of its ranks, as of now or as of their end. */
  readonly reports: readonly RankReport[];
  /** True while its command runs. */
  readonly live: boolean;
  readonly trackers: readonly TrackerState[];
}

export function renderDescription(
  run: RunDetails,
  parts: DescriptionParts & { readonly yaml: boolean },
  now: number,
): string {
  const used = parts.reports.filter(hasUsage);
  const sections = [
    section('Run Metadata', details(run, parts, now)),
    section('Run Lifecycle', lifecycle(run.lifecycle)),
    ...metadataSection(run),
    ...(used.length > 0 ? [section('Resource Usage', usageTable(used, parts.live))] : []),
    ...(parts.yaml ? [section('Submitted YAML', run.input.submittedYaml.trimEnd())] : []),
  ];
  return sections.join('\n\n');
}

function section(title: string, body: string): string {
  return `${title}\n${body}`;
}

function details(run: RunDetails, parts: DescriptionParts, now: number): string {
  const { waiting, reports } = parts;
  const { resources, input, scheduling } = run;
  const rows: (readonly [string, string])[] = [
    ['Run Name', run.name],
    ['Cluster', resources?.cluster ?? '-'],
    ['Image', input.spec.image],
    ['GPU Type', resources?.gpuType ?? 'None'],
    ['GPU Num', String(resources?.gpus ?? '-')],
    ['Priority', scheduling.priority],
    ['Preemptible', scheduling.preemptible ? 'yes' : 'no'],
    ['Watchdog', scheduling.retryOnSystemFailure ? 'on' : 'off'],
    ['Max Retries', String(scheduling.maxRetries)],
    ...maxDuration(run),
    ['User', input.user],
    ...(input.spec.parentName === undefined ? [] : [['Parent Run', input.spec.parentName] as const]),
    ['Nodes', run.nodes.join(', ') || '-'],
    ['Status', statusWithReason(run)],
  ];
  if (waiting) rows.push(['Waiting', `Position ${waiting.position}. ${waiting.reason}`]);
  if (waiting?.expectedStart) {
    rows.push(['Expected Start', displayBand(waiting.expectedStart, Date.now())]);
  }
  const progress = progressOf(reports);
  if (progress) rows.push(...progressRows(progress));
  rows.push(...trackerRows(parts.trackers, run.closed));
  const end = endOf(run, parts);
  if (end !== undefined) rows.push(['Expected End', displayExpectedEnd(end, now)]);
  if (run.message) rows.push(['Reason', run.message]);
  const hint = run.failure && failureClass(run.failure).hint;
  if (hint) rows.push(['Next Step', hint]);
  if (run.exitCode !== undefined) rows.push(['Exit Code', String(run.exitCode)]);
  return alignColumns(rows.map(([name, value]) => [name.padEnd(PAGE_LABEL_WIDTH), value]));
}

/** The user's own, apart: a key may be called Status. */
function metadataSection({ input }: RunDetails): string[] {
  const entries = Object.entries(input.spec.metadata);
  const columns: Column<(typeof entries)[number]>[] = [
    { head: 'KEY', value: ([key]) => key },
    { head: 'VALUE', value: ([, value]) => JSON.stringify(value) },
  ];
  return entries.length === 0 ? [] : [section('Metadata of the Run File', renderTable(columns, entries))];
}

function maxDuration(run: RunDetails): (readonly [string, string])[] {
  const { maxDurationHours: hours } = run.scheduling;
  if (hours === undefined) return [];
  const limit = limitOf(run);
  const end = limit === undefined ? undefined : new Date(limit);
  const seconds = `${Math.round(hours * 3_600)} seconds`;
  return [['Max Duration', end ? `${seconds} (expires ${displayTime(end)})` : seconds]];
}

/** When the command will be over, by what is known of a run that runs. */
function endOf(run: RunDetails, { reports, live }: DescriptionParts): number | undefined {
  return live ? earliestEnd(progressOf(reports), limitOf(run)) : undefined;
}

/** When `max_duration` ends the run, epoch milliseconds; undefined before its start, after its end and without one. */
function limitOf({ scheduling, startedAt, endedAt }: RunDetails): number | undefined {
  const { maxDurationHours: hours } = scheduling;
  return hours === undefined || !startedAt || endedAt ? undefined : startedAt.getTime() + hours * 3_600_000;
}

/** As wide as on the page, also where every label is shorter. */
const PAGE_LABEL_WIDTH = 11;

function lifecycle(steps: readonly LifecycleStep[]): string {
  const resumed = steps.some(({ resumption }) => resumption > 0);
  const explained = steps.some(({ reason }) => reason !== '');
  const columns: Column<LifecycleStep>[] = [
    ...(resumed
      ? [{ head: 'RESUMPTION', value: ({ resumption }: LifecycleStep) => String(resumption) }]
      : []),
    { head: 'STATUS', value: ({ status }) => status },
    { head: 'START_TIME', value: ({ startedAt }) => displayTime(startedAt) },
    { head: 'END_TIME', value: ({ endedAt }) => (endedAt ? displayTime(endedAt) : '--') },
    { head: 'DURATION', value: durationOf },
    ...(explained ? [{ head: 'REASON', value: ({ reason }: LifecycleStep) => reason }] : []),
  ];
  return renderTable(columns, steps);
}

function durationOf({ startedAt, endedAt }: LifecycleStep): string {
  return endedAt ? displayDuration(endedAt.getTime() - startedAt.getTime()) : '';
}

/** The documented shape of `mcli describe run -o json`. */
export function descriptionAsJson(run: RunDetails, parts: DescriptionParts): Record<string, unknown> {
  const { waiting, reports } = parts;
  const { scheduling, input, resources, lifecycle, createdAt, startedAt, endedAt } = run;
  return {
    name: run.name,
    user: input.user,
    status: run.status,
    reason: run.reason || null,
    message: run.message || null,
    failure: run.failure ?? null,
    exitCode: run.exitCode ?? null,
    resumption: run.resumption,
    cluster: resources?.cluster ?? null,
    image: input.spec.image,
    parentName: input.spec.parentName ?? null,
    gpuType: resources?.gpuType ?? null,
    gpus: resources?.gpus ?? null,
    nodes: run.nodes,
    priority: scheduling.priority,
    preemptible: scheduling.preemptible,
    retryOnSystemFailure: scheduling.retryOnSystemFailure,
    maxRetries: scheduling.maxRetries,
    maxDurationHours: scheduling.maxDurationHours ?? null,
    waiting: waiting
      ? {
          position: waiting.position,
          reason: waiting.reason,
          expectedStart: waiting.expectedStart
            ? {
                from: new Date(waiting.expectedStart.from).toISOString(),
                to: new Date(waiting.expectedStart.to).toISOString(),
              }
            : null,
        }
      : null,
    createdAt: createdAt.toISOString(),
    startedAt: startedAt?.toISOString() ?? null,
    endedAt: endedAt?.toISOString() ?? null,
    lifecycle: lifecycle.map((step) => ({
      ...step,
      reason: step.reason || null,
      startedAt: step.startedAt.toISOString(),
      endedAt: step.endedAt?.toISOString() ?? null,
    })),
    expectedEnd: iso(endOf(run, parts) ?? null),
    progress: progressAsJson(progressOf(reports), parts.live),
    usage: reports.filter(hasUsage).map(usageAsJson),
    trackers: parts.trackers.map(trackerAsJson),
    metadata: input.spec.metadata,
    submittedYaml: input.submittedYaml,
  };
}
