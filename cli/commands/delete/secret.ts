/** `mcli delete secret`: gone for all later runs; those that have it keep it. */
import { matchesGlob } from 'node:path';
import { SecretNotFound } from '../../../client/index.ts';
import { confirmNames } from '../../confirm.ts';
import type { CliContext } from '../../context.ts';
import { CliError, EXIT } from '../../errors.ts';

export interface DeleteSecretFlags {
  readonly all?: boolean;
  readonly yes?: boolean;
}

export async function deleteSecrets(
  context: CliContext,
  names: readonly string[],
  { all, yes = false }: DeleteSecretFlags,
): Promise<number> {
  if (names.length === 0 && !all) {
    throw new CliError(
      { message: 'Must specify at least one name or --all', fix: 'mcli delete secret NAME' },
      EXIT.usage,
    );
  }
  if (names.length > 0 && all) {
    throw new CliError(
      {
        message: 'Both names and --all were given',
        why: `--all would delete more than ${names.join(', ')}`,
        fix: 'Give one of them.',
      },
      EXIT.usage,
    );
  }
  const { secrets } = await context.mcli();
  const user = context.user();
  const known = (await secrets.list(user)).map(({ name }) => name);
  const matches = (name: string, wanted: string): boolean => name === wanted || matchesGlob(name, wanted);
  const missing = names.filter((wanted) => !known.some((name) => matches(name, wanted)));
  if (missing.length > 0) {
    throw new CliError({
      message: `Could not find secret(s) matching: ${missing.join(', ')}`,
      fix: 'See `mcli get secrets`.',
    });
  }
  const picked = known.filter((name) => all || names.some((wanted) => matches(name, wanted)));
  if (picked.length === 0) throw new CliError({ message: 'There are no secrets to delete.' });
  await confirmNames(context, { verb: 'delete', noun: 'secret', names: picked, yes });
  for (const name of picked) {
    // Another command may have been quicker.
    await secrets.delete(user, name).catch((error: unknown) => {
      if (!(error instanceof SecretNotFound)) throw error;
    });
    context.say(`✔ Deleted secret: ${name}`);
  }
  return EXIT.ok;
}
