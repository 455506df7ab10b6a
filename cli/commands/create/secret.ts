/** `mcli create secret`: sealed here, for all later runs of the user. */
import { randomBytes } from 'node:crypto';
import { secretNameFault, secretNameStem } from '../../../core/secret.ts';
import type { CliContext } from '../../context.ts';
import { CliError, EXIT } from '../../errors.ts';
import { readSecret } from '../../secret-types.ts';
import type { SecretFlags } from '../../secret-input.ts';
import type { SecretWord } from '../../secret-types.ts';

export async function createSecret(
  context: CliContext,
  word: SecretWord,
  argument: string | undefined,
  flags: SecretFlags,
): Promise<number> {
  if (flags.name !== undefined) checkName(flags.name);
  const { stem, content } = await readSecret(context, word, argument, flags);
  const name = flags.name ?? `${secretNameStem(stem)}-${randomBytes(2).toString('hex')}`;
  const { secrets } = await context.mcli();
  const created = await secrets.create({ user: context.user(), name, content: content(name) });
  context.say(`✔ Created ${created.type.replaceAll('_', ' ')} secret: ${name}`);
  for (const line of whereItIs(created)) context.say(`i ${line}`);
  return EXIT.ok;
}

function whereItIs({
  variables,
  mountPath,
  server,
}: {
  readonly variables: readonly string[];
  readonly mountPath?: string;
  readonly server?: string;
}): string[] {
  const places = [
    ...(variables.length === 0 ? [] : [`as ${variables.join(', ')}`]),
    ...(mountPath === undefined ? [] : [`in ${mountPath}`]),
    ...(server === undefined ? [] : [`for images from ${server}`]),
  ];
  return [`Every run that you submit from now on has it ${places.join(', ')}.`];
}

function checkName(name: string): void {
  const fault = secretNameFault(name);
  if (fault === undefined) return;
  throw new CliError(
    {
      message: `${JSON.stringify(name)} is not a name for a secret`,
      why: fault,
      fix: `For instance: --name ${secretNameStem(name)}`,
    },
    EXIT.usage,
  );
}
