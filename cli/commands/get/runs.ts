/** `mcli get runs`: the runs, newest first. */
import { stringify } from 'yaml';
import type { CliContext } from '../../context.ts';
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
  const runs = await selectRuns(await context.mcli(), names, selection, limit);
  if (output === 'json') context.print(JSON.stringify(runs.map(runAsJson), null, 2));
  else if (output === 'yaml') context.print(stringify(runs.map(runAsJson)).trimEnd());
  else if (output === 'name') for (const { name } of runs) context.print(name);
  else if (runs.length === 0) context.say('No items found.');
  else context.print(output === 'wide' ? renderRunsWide(runs) : renderRuns(runs));
  if (runs.length === limit && output !== 'name') {
    context.say(`! Only the newest ${limit} runs are shown. Use --limit to see more.`);
  }
  return EXIT.ok;
}
