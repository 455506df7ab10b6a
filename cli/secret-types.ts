/** From flags, files and answers to the content of a secret, for each of its types. */
import { defaultMountPath, mountPathFault, plainPath } from '../core/mount-path.ts';
import { MAX_VARIABLE_BYTES, variableNameFault } from '../core/secret.ts';
import type { SecretContent } from '../core/secret.ts';
import { registryHost } from '../core/secret-registry.ts';
import type { CliContext } from './context.ts';
import { CliError, EXIT } from './errors.ts';
import { readDatabricks, readGcp, readOci, readS3 } from './secret-clouds.ts';
import { oneWord, SecretInput } from './secret-input.ts';
import type { SecretFlags, Wanted } from './secret-input.ts';
import { readKnownHosts, readPrivateKey } from './secret-keys.ts';

/** Words of `mcli create secret`. */
export type SecretWord =
  | 'docker'
  | 'env'
  | 'mounted'
  | 'ssh'
  | 'git-ssh'
  | 'sftp-ssh'
  | 's3'
  | 'gcp'
  | 'oci'
  | 'databricks'
  | 'hf'
  | 'wandb';

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
      const { bytes, stem = word } = await input.file(argument, { words: 'file', flag: 'FILE' });
      const fileBase64 = bytes.toString('base64');
      return { stem, content: (name) => ({ type: 'mounted', mountPath: folder(name), fileBase64 }) };
    }
    case 'ssh':
    case 'git-ssh': {
      const { fileBase64, stem = word } = await readPrivateKey(input, argument);
      const type = word === 'ssh' ? 'ssh' : 'git';
      return { stem, content: (name) => ({ type, mountPath: folder(name), fileBase64 }) };
    }
    case 'sftp-ssh': {
      const { fileBase64, stem = word } = await readPrivateKey(input, argument);
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
  const pair = await input.text(argument, { words: 'name of the variable', flag: 'KEY' });
  const [, key = pair, value] = /^([^=]*)=(.*)$/s.exec(pair) ?? [];
  const fault = variableNameFault(key);
  if (fault !== undefined) {
    // The value, if there is one, stays out of the message.
    const got = value === undefined ? key : `${key}=…`;
    throw new CliError(
      {
        message: 'Environment variable must be specified like KEY=VALUE',
        why: `of KEY, ${fault}. Got: ${got}`,
        fix: 'mcli create secret env KEY, and type or pipe in the value',
      },
      EXIT.usage,
    );
  }
  const text = await input.hidden(value, { words: `value of ${key}`, flag: 'KEY=VALUE', literal: true });
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
