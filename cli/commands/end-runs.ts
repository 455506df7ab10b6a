/** What stop and delete share: which runs are meant. */
import type { RunSummary } from '../../client/index.ts';
import type { CliContext } from '../context.ts';
import { CliError, EXIT } from '../errors.ts';
import { hasSelection, selectRuns } from '../select-runs.ts';
import type { SelectionFlags } from '../select-runs.ts';

export interface EndFlags extends SelectionFlags {
  readonly all?: boolean;
  readonly yes?: boolean;
}

export async function pickRuns(
  context: CliContext,
  verb: string,
  names: readonly string[],
  flags: EndFlags,
): Promise<RunSummary[]> {
  const { all, yes: _yes, ...selection } = flags;
  if (!all && !hasSelection(names, selection)) {
    throw new CliError(
      { message: 'Must specify at least one filter or --all', fix: `mcli ${verb} run NAME` },
      EXIT.usage,
    );
  }
  const runs = await selectRuns(await context.mcli(), names, selection);
  const missing = names.filter((name) => !isGlob(name) && !runs.some((run) => run.name === name));
  if (missing.length > 0) {
    throw new CliError({ message: `Could not find run: ${missing.join(', ')}`, fix: 'See `mcli get runs`.' });
  }
  if (runs.length === 0) throw new CliError({ message: 'No runs found matching the specified criteria.' });
  return runs;
}

function isGlob(name: string): boolean {
  return /[*?[\]!]/.test(name);
}
