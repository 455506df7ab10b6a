/** Lists of runs out of Temporal's visibility. */
import type { Client, WorkflowExecutionInfo } from '@temporalio/client';
import { metadataKeyword, metadataOfKeywords } from '../core/metadata-keywords.ts';
import { HISTORY_DAYS, WORKFLOW_TYPES } from '../core/naming.ts';
import type { Priority } from '../core/priority.ts';
import { isTerminal, RUN_STATUSES, TERMINAL_STATUSES } from '../core/run-status.ts';
import type { RunStatus } from '../core/run-status.ts';
import { ABRUPT_END } from './run-history.ts';

/** One row of a list. */
export interface RunSummary {
  readonly name: string;
  readonly user: string;
  readonly cluster: string;
  readonly priority: Priority;
  /** `none` for a CPU run. */
  readonly gpuType: string;
  readonly gpus: number;
  readonly nodes: number;
  readonly nodeNames: readonly string[];
  /** As far as it can be searched by; values that are no texts are JSON. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly resumption: number;
  readonly status: RunStatus;
  readonly reason: string;
  readonly createdAt: Date;
  readonly startedAt?: Date;
  readonly endedAt?: Date;
}

export interface RunFilter {
  readonly statuses?: readonly RunStatus[];
  readonly clusters?: readonly string[];
  readonly users?: readonly string[];
  readonly gpuTypes?: readonly string[];
  readonly gpus?: readonly number[];
  /** Texts like `key=value`, all of which must hold. */
  readonly metadata?: readonly string[];
  readonly createdBefore?: Date;
  readonly createdFrom?: Date;
}

/**
 * Newest first by creation, at most `limit`. The server sorts by end, and knows no other order: so the youngest are
 * found by narrowing the time of creation until a few pages hold them.
 */
export async function listRuns(client: Client, filter: RunFilter, limit: number): Promise<RunSummary[]> {
  const from = await createdFrom(client, filter, limit);
  const query = visibilityQuery(from ? { ...filter, createdFrom: from } : filter);
  const found: RunSummary[] = [];
  for await (const info of client.workflow.list({ query, pageSize: LIST_PAGE })) {
    const run = summarise(info);
    if (hasMetadata(run, filter)) found.push(run);
  }
  found.sort((a, b) => b.createdAt.getTime() - a.createdAt.getTime() || (a.name < b.name ? -1 : 1));
  return found.slice(0, limit);
}

/** A time of creation behind which lie at least `limit` runs, and not many more; `undefined` when all may be read. */
async function createdFrom(client: Client, filter: RunFilter, limit: number): Promise<Date | undefined> {
  if (limit === Infinity) return undefined;
  const countFrom = async (from: Date | undefined): Promise<number> =>
    (await client.workflow.count(visibilityQuery(from ? { ...filter, createdFrom: from } : filter))).count;
  if ((await countFrom(filter.createdFrom)) <= Math.max(limit, LIST_PAGE)) return filter.createdFrom;
  let enough = filter.createdFrom?.getTime() ?? Date.now() - HISTORY_MS;
  let tooFew = Date.now();
  for (let step = 0; step < MAX_BISECTIONS; step++) {
    const middle = (enough + tooFew) / 2;
    const count = await countFrom(new Date(middle));
    if (count < limit) tooFew = middle;
    else enough = middle;
    if (count >= limit && count <= Math.max(limit, LIST_PAGE)) break;
  }
  return new Date(enough);
}

/** One page holds what nearly every list needs. */
const LIST_PAGE = 200;
/** Twice the time that an ended run is kept: running ones may be older. */
const HISTORY_MS = 2 * HISTORY_DAYS * 86_400_000;
/** Enough to tell milliseconds apart. */
const MAX_BISECTIONS = 32;

function visibilityQuery(filter: RunFilter): string {
  // Rejected runs never had a status: they take no place in any list.
  const terms = [`WorkflowType = '${WORKFLOW_TYPES.run}'`, 'RunStatus IS NOT NULL'];
  const anyOf = (name: string, values: readonly (string | number)[] | undefined): void => {
    if (values?.length) terms.push(`${name} IN (${values.map(quoted).join(', ')})`);
  };
  if (filter.statuses) terms.push(statusTerm(filter.statuses));
  anyOf('Cluster', filter.clusters);
  anyOf('RunUser', filter.users);
  anyOf('GpuType', filter.gpuTypes);
  anyOf('Gpus', filter.gpus);
  for (const text of filter.metadata ?? []) terms.push(`Metadata = ${quoted(metadataKeyword(text))}`);
  if (filter.createdBefore) terms.push(`StartTime < '${filter.createdBefore.toISOString()}'`);
  if (filter.createdFrom) terms.push(`StartTime >= '${filter.createdFrom.toISOString()}'`);
  return terms.join(' AND ');
}

/** By the status that is shown: a workflow that somebody ended in Temporal still carries the status it had then. */
function statusTerm(statuses: readonly RunStatus[]): string {
  const among = (values: readonly string[]): string => `RunStatus IN (${values.map(quoted).join(', ')})`;
  const saysItself = `ExecutionStatus = 'Running' OR ${among(TERMINAL_STATUSES)}`;
  const shown = `(${among(statuses)} AND (${saysItself}))`;
  if (!statuses.includes(ABRUPT_END.status)) return shown;
  const active = RUN_STATUSES.filter((status) => !isTerminal(status));
  return `(${shown} OR (ExecutionStatus != 'Running' AND ${among(active)}))`;
}

/** Temporal on SQLite takes upper and lower case for the same. */
function hasMetadata({ metadata }: RunSummary, filter: RunFilter): boolean {
  const keywords = new Set(Object.entries(metadata).map(([key, value]) => `${key}=${value}`));
  return (filter.metadata ?? []).every((text) => keywords.has(metadataKeyword(text)));
}

export function quoted(value: string | number): string {
  return typeof value === 'number' ? String(value) : `'${value.replaceAll("'", "''")}'`;
}

function summarise(info: WorkflowExecutionInfo): RunSummary {
  const attributes = Object.fromEntries(
    info.typedSearchAttributes.getAll().map(({ key, value }) => [key.name, value]),
  );
  const status = attributes['RunStatus'] as RunStatus;
  const abrupt = info.status.name !== 'RUNNING' && !isTerminal(status);
  const startedAt = attributes['RunStarted'] as Date | undefined;
  const endedAt = (attributes['RunEnded'] as Date | undefined) ?? info.closeTime;
  return {
    name: info.workflowId,
    user: attributes['RunUser'] as string,
    cluster: attributes['Cluster'] as string,
    priority: attributes['Priority'] as Priority,
    gpuType: attributes['GpuType'] as string,
    gpus: attributes['Gpus'] as number,
    nodes: attributes['Nodes'] as number,
    nodeNames: (attributes['NodeNames'] as string[] | undefined) ?? [],
    metadata: metadataOfKeywords((attributes['Metadata'] as string[] | undefined) ?? []),
    resumption: attributes['Resumption'] as number,
    status: abrupt ? ABRUPT_END.status : status,
    reason: abrupt ? ABRUPT_END.reason : ((attributes['RunReason'] as string | undefined) ?? ''),
    createdAt: info.startTime,
    ...(startedAt ? { startedAt } : {}),
    ...(endedAt ? { endedAt } : {}),
  };
}
