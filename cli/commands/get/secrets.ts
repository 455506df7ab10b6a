/** `mcli get secrets`: names and types; values are never read back. */
import { stringify } from 'yaml';
import { SECRET_TYPES } from '../../../core/secret.ts';
import type { SecretType } from '../../../core/secret.ts';
import { didYouMean } from '../../../core/suggest.ts';
import type { CliContext } from '../../context.ts';
import { CliError, EXIT } from '../../errors.ts';
import { renderSecrets, secretAsJson } from '../../output/secrets.ts';

export interface GetSecretsFlags {
  readonly output: 'table' | 'json' | 'yaml' | 'name';
  readonly type: string;
  readonly ids?: boolean;
}

/** How `mcli create secret` calls those types that are stored under another name. */
const WORDS: Readonly<Record<string, SecretType>> = {
  docker: 'docker_registry',
  env: 'environment',
  git_ssh: 'git',
  sftp_ssh: 'sftp',
  hf: 'hugging_face',
};

export async function getSecrets(
  context: CliContext,
  { output, type, ids = false }: GetSecretsFlags,
): Promise<number> {
  const word = type.toLowerCase().replaceAll('-', '_');
  const wanted = WORDS[word] ?? word;
  if (wanted !== 'all' && !SECRET_TYPES.some((known) => known === wanted)) {
    throw new CliError(
      {
        message: `Unknown type of secret: ${type}${didYouMean(wanted, SECRET_TYPES)}`,
        fix: `Types are all, ${SECRET_TYPES.join(', ')}.`,
      },
      EXIT.usage,
    );
  }
  const all = await (await context.mcli()).secrets.list(context.user());
  const secrets = all.filter((secret) => wanted === 'all' || secret.type === wanted);
  if (output === 'json') context.print(JSON.stringify(secrets.map(secretAsJson), null, 2));
  else if (output === 'yaml') context.print(stringify(secrets.map(secretAsJson)).trimEnd());
  else if (output === 'name') for (const { name } of secrets) context.print(name);
  else if (secrets.length === 0) context.say('No items found.');
  else context.print(renderSecrets(secrets, ids));
  return EXIT.ok;
}
