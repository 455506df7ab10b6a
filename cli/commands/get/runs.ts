/** `mcli get runs`: the runs, newest first. */
import { stringify } from 'yaml';
import type { RunSummary } from '../../../client/index.ts';
import { progressOf } from '../../../core/rank-report.ts';
import type { QueuePosition } from '../../../workflows/messages.ts';
import type { CliContext, Mcli } from '../../context.ts';
import { EXIT } from '../../errors.ts';
import { renderRuns, renderRunsWide, runAsJson } from '../../output/runs.ts';
import type { ListedRun } from '../../output/runs.ts';
import { selectRuns } from '../../select-runs.ts';
import type { SelectionFlags } from '../../select-runs.ts';

export type RunsFormat = 'table' | 'wide' | 'json' | 'yaml' | 'name';

export interface GetRunsFlags extends SelectionFlags {
  readonly limit: number;
  readonly output: RunsFormat;
  /** `key=value` picks runs, `key` alone shows a column. */
  readonly metadata?: readonly string[];
}

export async function getRuns(
  context: CliContext,
  names: readonly string[],
  flags: GetRunsFlags,
): Promise<number> {
  const { limit, output, metadata = [], ...selection } = flags;
  const keys = metadata.filter((text) => !text.includes('='));
  const filters = metadata.filter((text) => text.includes('='));
  const mcli = await context.mcli();
  const found = await selectRuns(mcli, names, { ...selection, metadata: filters }, limit);
  const runs = output === 'name' ? found : await withProgress(mcli, found);
  if (output === 'json') context.print(JSON.stringify(runs.map(runAsJson), null, 2));
  else if (output === 'yaml') context.print(stringify(runs.map(runAsJson)).trimEnd());
  else if (output === 'name') for (const { name } of runs) context.print(name);
  else if (runs.length === 0) context.say('No items found.');
  else if (output === 'wide') context.print(renderRunsWide(runs, keys, await placesOf(mcli, runs)));
  else context.print(renderRuns(runs, keys));
  if (runs.length === limit && output !== 'name') {
    context.say(`! Only the newest ${limit} runs are shown. Use --limit to see more.`);
  }
  return EXIT.ok;
}

/** Only running ones have something to report. */
async function withProgress(mcli: Mcli, runs: readonly RunSummary[]): Promise<ListedRun[]> {
  const running = runs.filter(({ status }) => status === 'RUNNING').map(({ name }) => name);
  const reports = await mcli.runs.reports(running);
  return runs.map((run) => {
    const progress = progressOf(reports.get(run.name) ?? []);
    return progress ? { ...run, progress } : run;
  });
}

/** A question each: who wants to see all that wait has `mcli util`. */
const MAX_PLACES = 20;

async function placesOf(mcli: Mcli, runs: readonly RunSummary[]): Promise<Map<string, QueuePosition>> {
  const queued = runs.filter(({ status }) => status === 'QUEUED').slice(0, MAX_PLACES);
  const places = await Promise.all(queued.map(({ name, cluster }) => mcli.runs.queuePosition(name, cluster)));
  return new Map(places.flatMap((place) => (place ? [[place.run, place]] : [])));
}
