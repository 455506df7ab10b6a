/** `mcli get runs`: the runs, newest first. */
import { stringify } from 'yaml';
import type { RunSummary } from '../../../client/index.ts';
import type { QueuePosition } from '../../../workflows/messages.ts';
import type { CliContext, Mcli } from '../../context.ts';
import { EXIT } from '../../errors.ts';
import { renderRuns, renderRunsWide, runAsJson } from '../../output/runs.ts';
import { selectRuns } from '../../select-runs.ts';
import type { SelectionFlags } from '../../select-runs.ts';

export type RunsFormat = 'table' | 'wide' | 'json' | 'yaml' | 'name';

export interface GetRunsFlags extends SelectionFlags {
  readonly limit: number;
  readonly output: RunsFormat;
}

export async function getRuns(
  context: CliContext,
  names: readonly string[],
  flags: GetRunsFlags,
): Promise<number> {
  const { limit, output, ...selection } = flags;
  const mcli = await context.mcli();
  const runs = await selectRuns(mcli, names, selection, limit);
  if (output === 'json') context.print(JSON.stringify(runs.map(runAsJson), null, 2));
  else if (output === 'yaml') context.print(stringify(runs.map(runAsJson)).trimEnd());
  else if (output === 'name') for (const { name } of runs) context.print(name);
  else if (runs.length === 0) context.say('No items found.');
  else if (output === 'wide') context.print(renderRunsWide(runs, await placesOf(mcli, runs)));
  else context.print(renderRuns(runs));
  if (runs.length === limit && output !== 'name') {
    context.say(`! Only the newest ${limit} runs are shown. Use --limit to see more.`);
  }
  return EXIT.ok;
}

/** A question each: who wants to see all that wait has `mcli util`. */
const MAX_PLACES = 20;

async function placesOf(mcli: Mcli, runs: readonly RunSummary[]): Promise<Map<string, QueuePosition>> {
  const queued = runs.filter(({ status }) => status === 'QUEUED').slice(0, MAX_PLACES);
  const places = await Promise.all(queued.map(({ name, cluster }) => mcli.runs.queuePosition(name, cluster)));
  return new Map(places.flatMap((place) => (place ? [[place.run, place]] : [])));
}
