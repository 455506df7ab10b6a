/** What stop and delete share: pick runs, ask, say what happened. */
import type { RunSummary } from '../../client/index.ts';
import type { CliContext } from '../context.ts';
import { CliError, EXIT } from '../errors.ts';
import { hasSelection, selectRuns } from '../select-runs.ts';
import type { SelectionFlags } from '../select-runs.ts';

export interface EndFlags extends SelectionFlags {
  readonly all?: boolean;
  readonly yes?: boolean;
}

/** More names than this do not fit before a question. */
const MAX_LISTED = 50;

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

/** @throws CliError when the answer is no, or nobody is there to ask. */
export async function confirmRuns(
  context: CliContext,
  verb: string,
  runs: readonly RunSummary[],
  flags: EndFlags,
): Promise<void> {
  if (flags.yes) return;
  const [first] = runs;
  let question = `Would you like to ${verb} all ${runs.length} runs?`;
  if (runs.length === 1 && first) question = `Would you like to ${verb} the run: ${first.name}?`;
  else if (runs.length < MAX_LISTED) {
    context.say(`i Ready to ${verb} runs:\n${runs.map(({ name }) => `- ${name}`).join('\n')}\n`);
    question = `Would you like to ${verb} the runs listed above?`;
  }
  if (await context.confirm(question)) return;
  throw new CliError({
    message: `Canceling ${verb} runs`,
    ...(context.terminal.interactive
      ? {}
      : { why: 'nobody can be asked: this is no terminal', fix: 'Say yes beforehand: -y' }),
  });
}

function isGlob(name: string): boolean {
  return /[*?[\]!]/.test(name);
}
