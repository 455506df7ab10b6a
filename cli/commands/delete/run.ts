/** `mcli delete run`: stops what is active, then removes the runs from every list, with their history. */
import { isTerminal } from '../../../core/run-status.ts';
import { confirmNames } from '../../confirm.ts';
import type { CliContext } from '../../context.ts';
import { EXIT } from '../../errors.ts';
import { pickRuns } from '../end-runs.ts';
import type { EndFlags } from '../end-runs.ts';

export async function deleteRuns(
  context: CliContext,
  names: readonly string[],
  flags: EndFlags,
): Promise<number> {
  const picked = await pickRuns(context, 'delete', names, flags);
  await confirmNames(context, {
    verb: 'delete',
    noun: 'run',
    names: picked.map(({ name }) => name),
    yes: flags.yes ?? false,
  });
  const { runs } = await context.mcli();
  for (const { name, status } of picked) {
    if (!isTerminal(status)) {
      context.say(`i ${name} is active: stopping it first`);
      await runs.stop(name, { by: context.user(), reason: 'deleted' });
      // Deleting the workflow of a live container would leave the container without an owner.
      for await (const details of runs.watch(name)) if (details.closed) break;
    }
    await runs.delete(name);
    context.say(`✔ Deleted ${name}`);
  }
  return EXIT.ok;
}
