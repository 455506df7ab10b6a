/** Secrets of users: what each type holds, which names are good, and how a sealed one is stored. */

/** As `mcli get secrets` shows them. */
export const SECRET_TYPES = [
  'docker_registry',
  'environment',
  'mounted',
  'ssh',
  'git',
  'sftp',
  's3',
  'gcp',
  'oci',
  'databricks',
  'hugging_face',
  'wandb',
] as const;
export type SecretType = (typeof SECRET_TYPES)[number];

/** What is sealed. Files that may be binary are base64, everything else is text. */
export type SecretContent =
  | { readonly type: 'environment'; readonly key: string; readonly value: string }
  | { readonly type: FileSecretType; readonly mountPath: string; readonly fileBase64: string }
  | {
      readonly type: 'sftp';
      readonly mountPath: string;
      readonly fileBase64: string;
      /** Lines of a known_hosts file; absent where the host shall not be checked. */
      readonly knownHosts?: string;
    }
  | {
      readonly type: 'docker_registry';
      /** `docker.io`, `ghcr.io`, `registry.example:5000`. */
      readonly server: string;
      readonly username: string;
      readonly password: string;
    }
  | {
      readonly type: 's3';
      readonly mountPath: string;
      readonly config?: string;
      readonly credentials: string;
      /** Where the files have several. */
      readonly profile?: string;
    }
  | { readonly type: 'oci'; readonly mountPath: string; readonly config: string; readonly keyFile: string }
  | { readonly type: 'databricks'; readonly host: string; readonly token: string }
  | { readonly type: 'hugging_face'; readonly token: string }
  | { readonly type: 'wandb'; readonly apiKey: string };
/** One file named `secret` in a folder of its own. */
export type FileSecretType = 'mounted' | 'ssh' | 'git' | 'gcp';

export interface Secret {
  readonly name: string;
  readonly content: SecretContent;
}

/** What may be known of a secret without opening it. Never trusted where one is opened: it is not sealed. */
export interface SecretSummary {
  readonly name: string;
  readonly user: string;
  readonly type: SecretType;
  /** ISO 8601 in UTC. */
  readonly createdAt: string;
  /** Names of the environment variables that it sets in a run. */
  readonly variables: readonly string[];
  /** Folder in the container. */
  readonly mountPath?: string;
  /** Registry of a `docker_registry` secret. */
  readonly server?: string;
  /** What counts for the limits of its user. */
  readonly size?: SecretSize;
}

export interface SecretSize {
  readonly bytes: number;
  readonly variableBytes: number;
  readonly maskedLines: number;
}

/** A secret as the bucket keeps it. */
export interface StoredSecret extends SecretSummary {
  /** Public keys that it is sealed to, sorted. */
  readonly recipients: readonly string[];
  /** An age file in base64: `SealedSecret` as JSON. */
  readonly sealed: string;
}

/** User and name are sealed too: what was moved to another place is refused. */
export interface SealedSecret extends Secret {
  readonly user: string;
}

export const SECRETS_BUCKET = 'mcli-secrets';
export const KEYS_BUCKET = 'mcli-keys';

/**
 * Of all values together, in bytes. NATS takes messages of 1 MiB unless it is told otherwise, and a sealed file is in
 * base64 twice.
 */
export const MAX_SECRET_BYTES = 512 * 1024;
/** Linux refuses to start a program with a longer `KEY=value`, in bytes. */
export const MAX_VARIABLE_BYTES = 128 * 1024 - 1;
const MAX_NAME_LENGTH = 253;

/** What is wrong with a name, as the end of a sentence about it; undefined for a good one. */
export function secretNameFault(name: string): string | undefined {
  if (name === '') return 'it is empty';
  if (name.length > MAX_NAME_LENGTH)
    return `it has ${name.length} characters; ${MAX_NAME_LENGTH} are allowed`;
  if (!/^[a-z0-9.-]+$/.test(name)) return 'only lower-case letters, digits, - and . are allowed';
  return /^[a-z0-9](.*[a-z0-9])?$/.test(name) ? undefined : 'it must begin and end with a letter or a digit';
}

/** The nearest good beginning of a name, for generated names: `API_KEY` → `api-key`. */
export function secretNameStem(text: string): string {
  const stem = text
    .toLowerCase()
    .replaceAll(/[^a-z0-9.]+/g, '-')
    .replaceAll(/^[.-]+|[.-]+$/g, '');
  return stem.slice(0, MAX_NAME_LENGTH - '-0000'.length).replace(/[.-]+$/, '') || 'secret';
}

/** What is wrong with the name of a variable, as the end of a sentence about it; undefined for a good one. */
export function variableNameFault(name: string): string | undefined {
  if (!/^[0-9A-Za-z_]*$/.test(name)) return 'only characters in [0-9A-Za-z_] are allowed';
  if (!/^[^0-9]/.test(name)) return 'it must begin with a letter or _';
  return BASH_VARIABLES.has(name) ? 'bash sets it by itself' : undefined;
}

/** bash refuses to set them, or forgets at once what they were set to: no run would have the value. */
const BASH_VARIABLES = new Set(
  `
  _ BASHOPTS BASHPID BASH_ALIASES BASH_ARGC BASH_ARGV BASH_CMDS BASH_COMMAND BASH_LINENO
  BASH_SOURCE BASH_SUBSHELL BASH_VERSINFO DIRSTACK EPOCHREALTIME EPOCHSECONDS EUID FUNCNAME
  GROUPS HISTCMD LINENO OPTIND PPID RANDOM SECONDS SHELLOPTS SHLVL SRANDOM UID
  `
    .trim()
    .split(/\s+/),
);

const MAX_USER_LENGTH = 256;

/** What is wrong with the name of a user, as the end of a sentence about it. Who has such a name has no secrets. */
export function userFault(user: string): string | undefined {
  if (user.trim() === '') return 'it is empty';
  return user.length > MAX_USER_LENGTH
    ? `it has ${user.length} characters; ${MAX_USER_LENGTH} are allowed`
    : undefined;
}

/** The key of a secret in its bucket; every user has a token of the subject, for permissions. */
export const secretKey = (user: string, name: string): string => `${keyToken(user)}.${keyToken(name)}`;
export const secretsOfUser = (user: string): string => `${keyToken(user)}.*`;
/** The key under which the agent of a node publishes its public key. */
export const nodeKey = (cluster: string, node: string): string => `${keyToken(cluster)}.${keyToken(node)}`;

/** Any text as one token of a subject, readable where it can be: `a@b.c` → `a=40b=2Ec`. */
function keyToken(text: string): string {
  const bytes = new TextEncoder().encode(text);
  return Array.from(bytes, (byte) => {
    const letter = String.fromCodePoint(byte);
    return /[A-Za-z0-9_-]/.test(letter) ? letter : `=${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }).join('');
}

/**
 * An entry of the bucket; undefined for one that is none, or stands under another key than its own. Who put it there
 * could also have deleted what was there: it counts as deleted, and keeps nobody else from anything.
 */
export function parseStoredSecret(key: string, text: string): StoredSecret | undefined {
  const value = parseObject(text);
  const { name, user, type, createdAt, variables, recipients, sealed } = value;
  const texts: readonly unknown[] = [
    name,
    user,
    createdAt,
    sealed,
    ...asList(variables),
    ...asList(recipients),
  ];
  if (texts.some((item) => typeof item !== 'string')) return undefined;
  if (!SECRET_TYPES.some((known) => known === type) || secretNameFault(name ?? '') !== undefined)
    return undefined;
  return secretKey(user ?? '', name ?? '') === key ? (value as StoredSecret) : undefined;
}

function parseObject(text: string): Partial<StoredSecret> {
  try {
    return (JSON.parse(text) ?? {}) as Partial<StoredSecret>;
  } catch {
    return {};
  }
}

const asList = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [undefined]);

/** The summary alone. */
export function summaryOf({
  recipients: _recipients,
  sealed: _sealed,
  ...summary
}: StoredSecret): SecretSummary {
  return summary;
}
