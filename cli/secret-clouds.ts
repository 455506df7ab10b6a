/** Credentials files and addresses of clouds. */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import type { SecretContent } from '../core/secret.ts';
import { CliError } from './errors.ts';
import { oneWord } from './secret-input.ts';
import type { SecretFlags, SecretInput, Wanted } from './secret-input.ts';

export async function readS3(
  input: SecretInput,
  { configFile, credentialsFile, profile }: SecretFlags,
): Promise<{ config?: string; credentials: string; profile?: string }> {
  const wanted = { words: 'path of the credentials file', flag: '--credentials-file' };
  const file = await input.text(credentialsFile, wanted, existing('.aws/credentials'));
  const credentials = await input.textFile(file, { ...wanted, words: 'credentials file' });
  const configPath = configFile ?? existing('.aws/config');
  const config =
    configPath === undefined
      ? undefined
      : await input.textFile(configPath, { words: 'config file', flag: '--config-file' });
  const profiles = [...credentials.matchAll(/^\s*\[\s*(.+?)\s*\]/gm)].map(([, name = '']) => name);
  if (profiles.length === 0) {
    throw new CliError({
      message: `${file} has no credentials in it`,
      why: 'there is no section like [default]',
      fix: 'Name a credentials file of AWS: --credentials-file',
    });
  }
  const chosen = profile ?? (await chooseProfile(input, profiles));
  if (chosen !== undefined && !profiles.includes(chosen)) {
    throw new CliError({
      message: `${file} has no profile ${chosen}`,
      why: `it has ${profiles.join(', ')}`,
      fix: 'Choose one of them: --profile',
    });
  }
  return {
    credentials,
    ...(config === undefined ? {} : { config }),
    ...(chosen === undefined ? {} : { profile: chosen }),
  };
}

/** Libraries take `default` by themselves; of several others somebody has to choose. */
async function chooseProfile(input: SecretInput, profiles: readonly string[]): Promise<string | undefined> {
  const [only] = profiles;
  if (profiles.includes('default')) {
    return profiles.length > 1 && input.asks
      ? await input.text(undefined, profileOf(profiles), 'default')
      : undefined;
  }
  return profiles.length === 1 ? only : await input.text(undefined, profileOf(profiles));
}

const profileOf = (profiles: readonly string[]): Wanted => ({
  words: `profile (${profiles.join(', ')})`,
  flag: '--profile',
});

export async function readGcp(input: SecretInput, { credentialsFile }: SecretFlags): Promise<string> {
  const wanted = { words: 'credentials file', flag: '--credentials-file' };
  const { bytes } = await input.file(credentialsFile, wanted);
  try {
    JSON.parse(bytes.toString('utf8'));
  } catch {
    throw new CliError({
      message: 'This is not a credentials file of Google Cloud',
      why: 'it is not JSON',
      fix: 'Download a key of a service account as JSON, and name that file.',
    });
  }
  return bytes.toString('base64');
}

export async function readOci(
  input: SecretInput,
  { configFile, keyFile }: SecretFlags,
): Promise<{ config: string; keyFile: string }> {
  const configWanted = { words: 'path of the config file', flag: '--config-file' };
  const file = await input.text(configFile, configWanted, existing('.oci/config'));
  const config = await input.textFile(file, { ...configWanted, words: 'config file' });
  const named = /^\s*key_file\s*=\s*(.+?)\s*$/m.exec(config)?.[1];
  const keyPath = await input.text(keyFile, { words: 'path of the key file', flag: '--key-file' }, named);
  const key = await input.textFile(keyPath, { words: 'key file', flag: '--key-file' });
  const sections = config.split(/^(?=[ \t]*\[)/m);
  if (!sections.some(isSection)) {
    throw new CliError({
      message: `${file} is no config file of OCI`,
      why: 'there is no section like [DEFAULT]',
      fix: 'Name the one that `oci setup config` has made: --config-file',
    });
  }
  return { config: sections.map(withKeyFile).join(''), keyFile: key };
}

const isSection = (text: string): boolean => /^[ \t]*\[/.test(text);

/** The container's path is put in later, where there is a line for it. */
function withKeyFile(section: string): string {
  if (!isSection(section) || /^\s*key_file\s*=/m.test(section)) return section;
  return section.replace(/^.*$/m, (head) => `${head}\nkey_file=`);
}

export async function readDatabricks(
  input: SecretInput,
  { host, token }: SecretFlags,
): Promise<SecretContent> {
  const wanted = { words: 'host of Databricks', flag: '--host' };
  const given = oneWord(await input.text(host, wanted), wanted);
  const url = /^https?:\/\//.test(given) ? given : `https://${given}`;
  const tokenWanted = { words: 'Databricks token', flag: '--token' };
  return {
    type: 'databricks',
    host: url,
    token: oneWord(await input.hidden(token, tokenWanted), tokenWanted),
  };
}

/** A file below the home folder, if it is there. */
function existing(file: string): string | undefined {
  const full = path.join(homedir(), file);
  return existsSync(full) ? full : undefined;
}
