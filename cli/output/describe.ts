/** `mcli describe run`: metadata, lifecycle and submitted YAML, as the page shows them. */
import type { LifecycleStep, RunDetails } from '../../client/index.ts';
import { failureClass } from '../../core/failures.ts';
import { statusWithReason } from './runs.ts';
import { alignColumns, renderTable } from './table.ts';
import type { Column } from './table.ts';
import { displayDuration, displayTime } from './time.ts';

export function renderDescription(run: RunDetails, parts: { readonly yaml: boolean }): string {
  const sections = [
    section('Run Metadata', metadata(run)),
    section('Run Lifecycle', lifecycle(run.lifecycle)),
    ...(parts.yaml ? [section('Submitted YAML', run.input.submittedYaml.trimEnd())] : []),
  ];
  return sections.join('\n\n');
}

function section(title: string, body: string): string {
  return `${title}\n${body}`;
}

function metadata(run: RunDetails): string {
  const { resources, input } = run;
  const rows: (readonly [string, string])[] = [
    ['Run Name', run.name],
    ['Cluster', resources?.cluster ?? '-'],
    ['Image', input.spec.image],
    ['GPU Type', resources?.gpuType ?? 'None'],
    ['GPU Num', String(resources?.gpus ?? '-')],
    ['Priority', input.spec.scheduling.priority],
    ['User', input.user],
    ['Nodes', run.nodes.join(', ') || '-'],
    ['Status', statusWithReason(run)],
  ];
  if (run.message) rows.push(['Reason', run.message]);
  const hint = run.failure && failureClass(run.failure).hint;
  if (hint) rows.push(['Next Step', hint]);
  if (run.exitCode !== undefined) rows.push(['Exit Code', String(run.exitCode)]);
  for (const [key, value] of Object.entries(input.spec.metadata)) rows.push([key, JSON.stringify(value)]);
  return alignColumns(rows.map(([name, value]) => [name.padEnd(PAGE_LABEL_WIDTH), value]));
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
export function descriptionAsJson(run: RunDetails): Record<string, unknown> {
  const { input, resources, lifecycle, createdAt, startedAt, endedAt } = run;
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
    priority: input.spec.scheduling.priority,
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
