/** Lists of runs: the page's table, wide, JSON, YAML, names. */
import type { RunSummary } from '../../client/index.ts';
import { displayStatus } from '../../core/run-status.ts';
import type { RunStatus } from '../../core/run-status.ts';
import type { QueuePosition } from '../../workflows/messages.ts';
import { renderTable } from './table.ts';
import type { Column } from './table.ts';
import { displayTime } from './time.ts';

/** `Failed (FailedPull)`. */
export function statusWithReason({
  status,
  reason,
}: {
  readonly status: RunStatus;
  readonly reason: string;
}): string {
  return reason ? `${displayStatus(status)} (${reason})` : displayStatus(status);
}

const PAGE_COLUMNS: readonly Column<RunSummary>[] = [
  { head: 'NAME', value: ({ name }) => name },
  { head: 'GPU_NUM', value: ({ gpus }) => String(gpus) },
  { head: 'CREATED_TIME', value: ({ createdAt }) => displayTime(createdAt) },
  { head: 'START_TIME', value: ({ startedAt }) => displayTime(startedAt) },
  { head: 'END_TIME', value: ({ endedAt }) => displayTime(endedAt) },
  { head: 'STATUS', value: statusWithReason },
];

const WIDE_COLUMNS: readonly Column<RunSummary>[] = [
  ...PAGE_COLUMNS,
  { head: 'USER', value: ({ user }) => user },
  { head: 'CLUSTER', value: ({ cluster }) => cluster },
  { head: 'GPU_TYPE', value: ({ gpuType }) => gpuType },
  { head: 'PRIORITY', value: ({ priority }) => priority },
  { head: 'RESUMPTION', value: ({ resumption }) => String(resumption) },
  { head: 'NODES', value: ({ nodeNames }) => nodeNames.join(',') || '-' },
];

export const renderRuns = (runs: readonly RunSummary[]): string => renderTable(PAGE_COLUMNS, runs);

/** `places` has the queued runs of which the place is known, by name. */
export function renderRunsWide(
  runs: readonly RunSummary[],
  places: ReadonlyMap<string, QueuePosition>,
): string {
  const waiting = ({ name }: RunSummary): string => {
    const place = places.get(name);
    return place ? `Position ${place.position}. ${place.reason}` : '-';
  };
  // Last, because it is as long as a sentence.
  return renderTable([...WIDE_COLUMNS, { head: 'WAITING', value: waiting }], runs);
}

/** The documented shape of `mcli get runs -o json`: ISO 8601 times in UTC, `null` where there is none. */
export function runAsJson(run: RunSummary): Record<string, unknown> {
  const { createdAt, startedAt, endedAt, ...rest } = run;
  return {
    ...rest,
    reason: run.reason || null,
    createdAt: createdAt.toISOString(),
    startedAt: startedAt?.toISOString() ?? null,
    endedAt: endedAt?.toISOString() ?? null,
  };
}
