/** `mcli describe run`: metadata, lifecycle and submitted YAML, as the page shows them. */
import type { LifecycleStep, RunDetails } from '../../client/index.ts';
import { failureClass } from '../../core/failures.ts';
import type { QueuePosition } from '../../workflows/messages.ts';
import { statusWithReason } from './runs.ts';
import { alignColumns, renderTable } from './table.ts';
import type { Column } from './table.ts';
import { displayDuration, displayTime } from './time.ts';
import { displayBand } from './util.ts';

export interface DescriptionParts {
  readonly yaml: boolean;
  /** Where a queued run stands; absent where nobody could tell. */
  readonly waiting: QueuePosition | undefined;
}

export function renderDescription(run: RunDetails, parts: DescriptionParts): string {
  const sections = [
    section('Run Metadata', metadata(run, parts.waiting)),
    section('Run Lifecycle', lifecycle(run.lifecycle)),
    ...(parts.yaml ? [section('Submitted YAML', run.input.submittedYaml.trimEnd())] : []),
  ];
  return sections.join('\n\n');
}

function section(title: string, body: string): string {
  return `${title}\n${body}`;
}

function metadata(run: RunDetails, waiting: QueuePosition | undefined): string {
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
    ['Nodes', run.nodes.join(', ') || '-'],
    ['Status', statusWithReason(run)],
  ];
  if (waiting) rows.push(['Waiting', `Position ${waiting.position}. ${waiting.reason}`]);
  if (waiting?.expectedStart) {
    rows.push(['Expected Start', displayBand(waiting.expectedStart, Date.now())]);
  }
  if (run.message) rows.push(['Reason', run.message]);
  const hint = run.failure && failureClass(run.failure).hint;
  if (hint) rows.push(['Next Step', hint]);
  if (run.exitCode !== undefined) rows.push(['Exit Code', String(run.exitCode)]);
  for (const [key, value] of Object.entries(input.spec.metadata)) rows.push([key, JSON.stringify(value)]);
  return alignColumns(rows.map(([name, value]) => [name.padEnd(PAGE_LABEL_WIDTH), value]));
}

function maxDuration({ scheduling, startedAt, endedAt }: RunDetails): (readonly [string, string])[] {
  const { maxDurationHours: hours } = scheduling;
  if (hours === undefined) return [];
  const end = startedAt && !endedAt ? new Date(startedAt.getTime() + hours * 3_600_000) : undefined;
  const seconds = `${Math.round(hours * 3_600)} seconds`;
  return [['Max Duration', end ? `${seconds} (expires ${displayTime(end)})` : seconds]];
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
export function descriptionAsJson(
  run: RunDetails,
  waiting: QueuePosition | undefined,
): Record<string, unknown> {
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
    metadata: input.spec.metadata,
    submittedYaml: input.submittedYaml,
  };
}
