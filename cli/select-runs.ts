/** Picks runs by names, globs and filters: the same words for get, stop and delete. */
import { matchesGlob } from 'node:path';
import type { RunFilter, RunSummary } from '../client/index.ts';
import { RUN_STATUSES } from '../core/run-status.ts';
import type { RunStatus } from '../core/run-status.ts';
import type { Mcli } from './context.ts';
import { CliError, EXIT } from './errors.ts';

export interface SelectionFlags {
  readonly cluster?: string;
  readonly status?: string;
  readonly gpuType?: string;
  readonly gpuNum?: string;
  readonly user?: string;
  readonly before?: string;
  readonly after?: string;
  readonly latest?: boolean;
  /** Texts like `key=value`, all of which must hold. */
  readonly metadata?: readonly string[];
}

/** Newest first, at most `limit`. */
export async function selectRuns(
  mcli: Mcli,
  names: readonly string[],
  flags: SelectionFlags,
  limit = Infinity,
): Promise<RunSummary[]> {
  const most = flags.latest ? 1 : limit;
  if (names.length === 0) return await mcli.runs.list(filterOf(flags), most);
  const matches = ({ name }: RunSummary): boolean =>
    names.some((wanted) => wanted === name || matchesGlob(name, wanted));
  return (await mcli.runs.list(filterOf(flags))).filter(matches).slice(0, most);
}

/** The newest run of all. */
export async function latestRun(mcli: Mcli): Promise<string> {
  const [latest] = await mcli.runs.list({}, 1);
  if (latest) return latest.name;
  throw new CliError({ message: 'There are no runs', fix: 'Submit one: mcli run -f run.yaml' });
}

export function hasSelection(names: readonly string[], flags: SelectionFlags): boolean {
  return names.length > 0 || Object.values(flags).some((value) => value !== undefined && value !== false);
}

function filterOf(flags: SelectionFlags): RunFilter {
  const { cluster, status, gpuType, gpuNum, user, before, after, metadata } = flags;
  return {
    ...(cluster === undefined ? {} : { clusters: words(cluster) }),
    ...(status === undefined ? {} : { statuses: words(status).map(parseStatus) }),
    ...(gpuType === undefined ? {} : { gpuTypes: words(gpuType) }),
    ...(gpuNum === undefined ? {} : { gpus: words(gpuNum).map(Number) }),
    ...(user === undefined ? {} : { users: words(user) }),
    ...(before === undefined ? {} : { createdBefore: parseTime(before) }),
    ...(metadata === undefined ? {} : { metadata }),
    ...(after === undefined ? {} : { createdFrom: parseTime(after) }),
  };
}

function words(list: string): string[] {
  return list
    .split(',')
    .map((word) => word.trim())
    .filter(Boolean);
}

function parseStatus(word: string): RunStatus {
  const status = RUN_STATUSES.find((known) => known === word.toUpperCase());
  if (status) return status;
  throw new CliError(
    { message: `Unknown status: ${word}`, fix: `Statuses are ${RUN_STATUSES.join(', ')}.` },
    EXIT.usage,
  );
}

/** `2026-01-31`, `01-31-2026`, `14:30[:15]` of today, or a date and a time; in the local zone. */
function parseTime(text: string): Date {
  const [, date, time] =
    /^(\d[\d-]*-\d+)?[ T]?(\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?$/.exec(text.trim()) ?? [];
  const american = /^(\d{2})-(\d{2})-(\d{4})$/.exec(date ?? '');
  const day = american ? `${american[3]}-${american[1]}-${american[2]}` : date;
  const parsed = new Date(`${day ?? localToday()}T${time ?? '00:00'}`);
  if ((date ?? time) !== undefined && !Number.isNaN(parsed.getTime())) return parsed;
  throw new CliError(
    { message: `Not a time: ${text}`, fix: 'Write it as 2026-01-31, 14:30, or "2026-01-31 14:30".' },
    EXIT.usage,
  );
}

function localToday(): string {
  const now = new Date();
  const month = String(now.getMonth() + 1).padStart(2, '0');
  return `${now.getFullYear()}-${month}-${String(now.getDate()).padStart(2, '0')}`;
}
