/** `mcli stop run`: SIGTERM, grace, SIGKILL; the capacity comes back when the container is gone. */
import { RunNotFound } from '../../../client/index.ts';
import { isTerminal } from '../../../core/run-status.ts';
import { confirmNames } from '../../confirm.ts';
import type { CliContext } from '../../context.ts';
import { CliError, EXIT } from '../../errors.ts';
import { pickRuns } from '../end-runs.ts';
import type { EndFlags } from '../end-runs.ts';

export interface StopRunFlags extends EndFlags {
  readonly reason?: string;
}

export async function stopRuns(
  context: CliContext,
  names: readonly string[],
  { reason, ...flags }: StopRunFlags,
): Promise<number> {
  const picked = await pickRuns(context, 'stop', names, flags);
  const active = picked.filter(({ status }) => !isTerminal(status));
  const skipped = picked.length - active.length;
  if (skipped === 1) {
    const ended = picked.find(({ status }) => isTerminal(status));
    context.say(`! ${ended?.name} has already stopped or completed. Skipping stop request for this run`);
  } else if (skipped > 1) {
    context.say(`! ${skipped} runs have already stopped or completed. Skipping stop request for these runs`);
  }
  if (active.length === 0) throw new CliError({ message: 'Nothing left to stop.' });
  await confirmNames(context, {
    verb: 'stop',
    noun: 'run',
    names: active.map(({ name }) => name),
    yes: flags.yes ?? false,
  });
  const { runs } = await context.mcli();
  const by = context.user();
  for (const { name } of active) {
    try {
      await runs.stop(name, { by, ...(reason === undefined ? {} : { reason }) });
      context.say(`✔ Stopping ${name}`);
    } catch (error) {
      // It ended by itself between the list and the order.
      if (!(error instanceof RunNotFound)) throw error;
      context.say(`! ${name} has already stopped or completed. Skipping stop request for this run`);
    }
  }
  return EXIT.ok;
}
