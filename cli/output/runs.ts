/** Lists of runs: the page's table, wide, JSON, YAML, names. */
import type { RunSummary } from '../../client/index.ts';
import type { RunProgress } from '../../core/progress.ts';
import { displayStatus } from '../../core/run-status.ts';
import type { RunStatus } from '../../core/run-status.ts';
import type { QueuePosition } from '../../workflows/messages.ts';
import { progressAsJson, progressBar } from './progress.ts';
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

/** A run with what it reports of itself, where that is known. */
export interface ListedRun extends RunSummary {
  readonly progress?: RunProgress;
}

function statusWithProgress(run: ListedRun): string {
  return [statusWithReason(run), progressBar(run.progress)].filter(Boolean).join(' ');
}

const PAGE_COLUMNS: readonly Column<ListedRun>[] = [
  { head: 'NAME', value: ({ name }) => name },
  { head: 'GPU_NUM', value: ({ gpus }) => String(gpus) },
  { head: 'CREATED_TIME', value: ({ createdAt }) => displayTime(createdAt) },
  { head: 'START_TIME', value: ({ startedAt }) => displayTime(startedAt) },
  { head: 'END_TIME', value: ({ endedAt }) => displayTime(endedAt) },
  { head: 'STATUS', value: statusWithProgress },
];

const WIDE_COLUMNS: readonly Column<ListedRun>[] = [
  { head: 'USER', value: ({ user }) => user },
  { head: 'CLUSTER', value: ({ cluster }) => cluster },
  { head: 'GPU_TYPE', value: ({ gpuType }) => gpuType },
  { head: 'PRIORITY', value: ({ priority }) => priority },
  { head: 'RESUMPTION', value: ({ resumption }) => String(resumption) },
  { head: 'NODES', value: ({ nodeNames }) => nodeNames.join(',') || '-' },
];

/** @param keys of the metadata, a column each */
export function renderRuns(runs: readonly ListedRun[], keys: readonly string[]): string {
  return renderTable([...PAGE_COLUMNS, ...keys.map(metadataColumn)], runs);
}

/** `places` has the queued runs of which the place is known, by name. */
export function renderRunsWide(
  runs: readonly ListedRun[],
  keys: readonly string[],
  places: ReadonlyMap<string, QueuePosition>,
): string {
  const waiting = ({ name }: RunSummary): string => {
    const place = places.get(name);
    return place ? `Position ${place.position}. ${place.reason}` : '-';
  };
  // Last, because it is as long as a sentence.
  return renderTable(
    [...PAGE_COLUMNS, ...WIDE_COLUMNS, ...keys.map(metadataColumn), { head: 'WAITING', value: waiting }],
    runs,
  );
}

/** Named after the last part of keys like `team/project`. */
function metadataColumn(key: string): Column<RunSummary> {
  const head = key.slice(key.lastIndexOf('/') + 1).toUpperCase();
  return { head, value: ({ metadata }) => (Object.hasOwn(metadata, key) ? metadata[key] : undefined) ?? '-' };
}

/** The documented shape of `mcli get runs -o json`: ISO 8601 times in UTC, `null` where there is none. */
export function runAsJson(run: ListedRun): Record<string, unknown> {
  const { createdAt, startedAt, endedAt, progress, ...rest } = run;
  return {
    ...rest,
    reason: run.reason || null,
    createdAt: createdAt.toISOString(),
    startedAt: startedAt?.toISOString() ?? null,
    endedAt: endedAt?.toISOString() ?? null,
    progress: progressAsJson(progress, true),
  };
}
