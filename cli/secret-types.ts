/** From flags, files and answers to the content of a secret, for each of its types. */
import { createHash } from 'node:crypto';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import {
  defaultMountPath,
  isVariableName,
  MAX_VARIABLE_BYTES,
  mountPathFault,
  plainPath,
} from '../core/secret.ts';
import type { SecretContent } from '../core/secret.ts';
import { registryHost } from '../core/secret-registry.ts';
import type { CliContext } from './context.ts';
import { CliError, EXIT } from './errors.ts';
import { SecretInput } from './secret-input.ts';
import type { InputFlags, Wanted } from './secret-input.ts';

/** Words of `mcli create secret`. */
export const SECRET_WORDS = [
  'docker',
  'env',
  'mounted',
  'ssh',
  'git-ssh',
  'sftp-ssh',
  's3',
  'gcp',
  'oci',
  'databricks',
  'hf',
  'wandb',
] as const;
export type SecretWord = (typeof SECRET_WORDS)[number];

/** All flags of all types; commander lets none through that the type does not have. */
export interface SecretFlags extends InputFlags {
  readonly name?: string;
  readonly username?: string;
  readonly password?: string;
  readonly server?: string;
  readonly mountPath?: string;
  readonly mountDirectory?: string;
  readonly hostName?: string;
  /** False with --no-host-check. */
  readonly hostCheck?: boolean;
  readonly knownHosts?: string;
  readonly configFile?: string;
  readonly credentialsFile?: string;
  readonly keyFile?: string;
  readonly profile?: string;
  readonly host?: string;
  readonly token?: string;
  readonly apiKey?: string;
}

export interface ReadSecret {
  /** What a generated name begins with. */
  readonly stem: string;
  /** The folder of files depends on the name, which depends on what was read. */
  readonly content: (name: string) => SecretContent;
}

/** @throws CliError for what is missing, empty, too large, binary or of another kind */
export async function readSecret(
  context: CliContext,
  word: SecretWord,
  argument: string | undefined,
  flags: SecretFlags,
): Promise<ReadSecret> {
  const input = new SecretInput(context, flags, word);
  const mountPath = flags.mountPath ?? flags.mountDirectory;
  if (mountPath !== undefined) checkMountPath(mountPath);
  const folder = (name: string): string => plainPath(mountPath ?? defaultMountPath(name));
  const simple = (content: SecretContent): ReadSecret => ({ stem: word, content: () => content });
  switch (word) {
    case 'docker':
      return simple(await readDocker(input, flags));
    case 'env':
      return await readVariable(input, argument);
    case 'mounted': {
      const { stem, fileBase64 } = await readFile(input, argument, word);
      return { stem, content: (name) => ({ type: 'mounted', mountPath: folder(name), fileBase64 }) };
    }
    case 'ssh':
    case 'git-ssh': {
      const { stem, fileBase64 } = await readPrivateKey(input, argument, word);
      const type = word === 'ssh' ? 'ssh' : 'git';
      return { stem, content: (name) => ({ type, mountPath: folder(name), fileBase64 }) };
    }
    case 'sftp-ssh': {
      const { stem, fileBase64 } = await readPrivateKey(input, argument, word);
      const knownHosts = await readKnownHosts(context, input, flags);
      const hosts = knownHosts === undefined ? {} : { knownHosts };
      return { stem, content: (name) => ({ type: 'sftp', mountPath: folder(name), fileBase64, ...hosts }) };
    }
    case 's3': {
      const files = await readS3(input, flags);
      return { stem: word, content: (name) => ({ type: 's3', mountPath: folder(name), ...files }) };
    }
    case 'gcp': {
      const fileBase64 = await readGcp(input, flags);
      return { stem: word, content: (name) => ({ type: 'gcp', mountPath: folder(name), fileBase64 }) };
    }
    case 'oci': {
      const files = await readOci(input, flags);
      return { stem: word, content: (name) => ({ type: 'oci', mountPath: folder(name), ...files }) };
    }
    case 'databricks':
      return simple(await readDatabricks(input, flags));
    case 'hf':
      return simple({ type: 'hugging_face', token: await readHuggingFace(input, flags) });
    case 'wandb':
      return simple({
        type: 'wandb',
        apiKey: oneWord(await input.hidden(flags.apiKey, WANDB_KEY), WANDB_KEY),
      });
  }
}

const WANDB_KEY: Wanted = { words: 'API key of Weights & Biases', flag: '--api-key' };

async function readDocker(
  input: SecretInput,
  { server, username, password }: SecretFlags,
): Promise<SecretContent> {
  const host = registryHost(await input.text(server, { words: 'registry', flag: '--server' }, 'docker.io'));
  if (!/^[a-z0-9.:[\]-]+$/.test(host)) {
    throw new CliError({
      message: `${JSON.stringify(server)} is not a registry`,
      fix: 'Give its host, as in image names: docker.io, ghcr.io, registry.example:5000',
    });
  }
  const user = await input.text(username, { words: 'user name', flag: '--username' });
  if (user.trim() === '') throw new CliError({ message: 'The user name is empty', fix: 'Give --username.' });
  const secret = await input.hidden(password, { words: 'password or token', flag: '--password' });
  return { type: 'docker_registry', server: host, username: user, password: secret };
}

async function readVariable(input: SecretInput, argument: string | undefined): Promise<ReadSecret> {
  const pair = await input.text(argument, { words: 'name of the variable', flag: 'KEY=VALUE' });
  const [, key = pair, value] = /^([^=]*)=(.*)$/s.exec(pair) ?? [];
  if (!isVariableName(key)) {
    // The value, if there is one, stays out of the message.
    const got = value === undefined ? key : `${key}=…`;
    throw new CliError(
      {
        message: 'Environment variable must be specified like KEY=VALUE',
        why: `KEY must include only characters in [0-9A-Za-z_], and not begin with a digit. Got: ${got}`,
        fix: 'mcli create secret env KEY, and type or pipe in the value',
      },
      EXIT.usage,
    );
  }
  const text = await input.hidden(value, { words: `value of ${key}`, flag: 'KEY=VALUE' });
  const bytes = Buffer.byteLength(`${key}=${text}`);
  if (bytes > MAX_VARIABLE_BYTES) {
    throw new CliError({
      message: `The value of ${key} is too long for an environment variable`,
      why: `Linux takes ${MAX_VARIABLE_BYTES} bytes with the name; this has ${bytes}`,
      fix: 'Hand it over as a file: mcli create secret mounted FILE',
    });
  }
  return { stem: key, content: () => ({ type: 'environment', key, value: text }) };
}

async function readFile(
  input: SecretInput,
  argument: string | undefined,
  word: SecretWord,
): Promise<{ readonly stem: string; readonly fileBase64: string; readonly bytes: Buffer }> {
  const { bytes, path: file } = await input.file(argument, {
    words: word === 'mounted' ? 'file' : 'private key',
    flag: 'FILE',
  });
  const stem = file === undefined ? word : path.parse(file).name;
  return { stem, bytes, fileBase64: bytes.toString('base64') };
}

/** Refuses what no run could use: another file, a public key, a key with a passphrase. */
async function readPrivateKey(
  input: SecretInput,
  argument: string | undefined,
  word: SecretWord,
): Promise<{ readonly stem: string; readonly fileBase64: string }> {
  const { bytes, stem } = await readFile(input, argument, word);
  const text = bytes.toString('latin1').replaceAll('\r\n', '\n').trim();
  if (!/^-----BEGIN [A-Z ]*PRIVATE KEY-----\n/.test(text)) {
    const isPublic = /^(?:ssh-|ecdsa-|sk-)|^-----BEGIN [A-Z ]*PUBLIC KEY/.test(text);
    throw new CliError({
      message: isPublic ? 'This is a public key' : 'This is not a private key',
      why: 'a run shows who it is with the private one, a file that begins with -----BEGIN … PRIVATE KEY-----',
      fix: 'Name that file; its public part, often the same name with .pub, goes to the server.',
    });
  }
  if (hasPassphrase(text)) {
    throw new CliError({
      message: 'This private key has a passphrase',
      why: 'nobody is there to type it when a run needs the key',
      fix: 'Make a key of its own for runs: ssh-keygen -t ed25519 -N "" -f FILE',
    });
  }
  // ssh takes a key without a newline at its end for a damaged one.
  return { stem, fileBase64: Buffer.from(`${text}\n`, 'latin1').toString('base64') };
}

function hasPassphrase(key: string): boolean {
  if (/^Proc-Type: .*ENCRYPTED|BEGIN ENCRYPTED/m.test(key)) return true;
  if (!key.includes('BEGIN OPENSSH')) return false;
  const body = Buffer.from(key.replaceAll(/-----.*-----/g, ''), 'base64');
  // `openssh-key-v1`, NUL, then the name of the cipher with its length in front: `none` without a passphrase.
  const start = 'openssh-key-v1\0'.length;
  if (body.length < start + 4) return false;
  return body.toString('latin1', start + 4, start + 4 + body.readUInt32BE(start)) !== 'none';
}

const HOST_NAME: Wanted = { words: 'host name of the SFTP server', flag: '--host-name' };

/** What the host is recognised by; undefined with --no-host-check: then nothing is checked. */
async function readKnownHosts(
  context: CliContext,
  input: SecretInput,
  { hostName, hostCheck, knownHosts }: SecretFlags,
): Promise<string | undefined> {
  if (knownHosts !== undefined) {
    return await input.textFile(knownHosts, { words: 'known_hosts file', flag: '--known-hosts' });
  }
  if (hostCheck === false) return undefined;
  const host = await input.text(hostName, HOST_NAME);
  const lines = await scanHost(host);
  const prints = lines.map((line) => {
    const [, kind = '', key = ''] = line.split(' ');
    return `  ${kind} SHA256:${createHash('sha256').update(Buffer.from(key, 'base64')).digest('base64').replace(/=+$/, '')}`;
  });
  context.say(`${host} shows these keys:\n${prints.join('\n')}`);
  if (input.asks && (await context.confirm('Are they the right ones?'))) return `${lines.join('\n')}\n`;
  throw new CliError({
    message: `The keys of ${host} are not confirmed`,
    why: input.asks ? 'you did not say yes' : 'nobody can be asked',
    fix: 'Give a file with the right ones: --known-hosts FILE; or let runs trust any host: --no-host-check',
  });
}

const SCAN_TIMEOUT_MS = 15_000;

async function scanHost(host: string): Promise<string[]> {
  const [, name = host, port] = /^([^:]+):(\d+)$/.exec(host) ?? [];
  const failed = (why: string): CliError =>
    new CliError({
      message: `The keys of ${host} could not be asked for`,
      why,
      fix: 'Give a file with them: --known-hosts FILE; or let runs trust any host: --no-host-check',
    });
  if (!/^[A-Za-z0-9._-]+$/.test(name) || name.startsWith('-')) throw failed('this is not a host name');
  const args = ['-T', '5', ...(port === undefined ? [] : ['-p', port]), name];
  try {
    const { stdout } = await promisify(execFile)('ssh-keyscan', args, { timeout: SCAN_TIMEOUT_MS });
    const lines = stdout.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    if (lines.length > 0) return lines;
  } catch (error) {
    throw failed(
      (error as NodeJS.ErrnoException).code === 'ENOENT'
        ? 'ssh-keyscan is not installed'
        : 'ssh-keyscan failed',
    );
  }
  throw failed('it does not answer');
}

async function readS3(
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

async function readGcp(input: SecretInput, { credentialsFile }: SecretFlags): Promise<string> {
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

async function readOci(
  input: SecretInput,
  { configFile, keyFile }: SecretFlags,
): Promise<{ config: string; keyFile: string }> {
  const configWanted = { words: 'path of the config file', flag: '--config-file' };
  const file = await input.text(configFile, configWanted, existing('.oci/config'));
  const config = await input.textFile(file, { ...configWanted, words: 'config file' });
  const named = /^\s*key_file\s*=\s*(.+?)\s*$/m.exec(config)?.[1];
  const keyPath = await input.text(keyFile, { words: 'path of the key file', flag: '--key-file' }, named);
  const key = await input.textFile(keyPath, { words: 'key file', flag: '--key-file' });
  if (named !== undefined) return { config, keyFile: key };
  // The container's path is put in later, where there is a line for it.
  return { config: config.replace(/^\s*\[.*\].*$/m, (section) => `${section}\nkey_file=`), keyFile: key };
}

async function readDatabricks(input: SecretInput, { host, token }: SecretFlags): Promise<SecretContent> {
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

async function readHuggingFace(input: SecretInput, { token }: SecretFlags): Promise<string> {
  const wanted = { words: 'Hugging Face token', flag: '--token' };
  const value = oneWord(await input.hidden(token, wanted), wanted);
  if (value.startsWith('hf_')) return value;
  throw new CliError({
    message: 'This is not a token of Hugging Face',
    why: 'theirs begin with hf_',
    fix: 'Make one at https://huggingface.co/settings/tokens',
  });
}

function oneWord(text: string, { words }: Wanted): string {
  const word = text.trim();
  if (word !== '' && !/\s/.test(word)) return word;
  throw new CliError({
    message: `The ${words} is not one word`,
    why: word === '' ? 'it is blank' : 'it has white space in it',
    fix: 'Copy it again, without what is around it.',
  });
}

function checkMountPath(mountPath: string): void {
  const fault = mountPathFault(mountPath);
  if (fault === undefined) return;
  throw new CliError(
    {
      message: `${mountPath} cannot be a folder for a secret`,
      why: fault,
      fix: 'Give an absolute path, like /secrets/name.',
    },
    EXIT.usage,
  );
}

/** A file below the home folder, if it is there. */
function existing(file: string): string | undefined {
  const full = path.join(homedir(), file);
  return existsSync(full) ? full : undefined;
}
