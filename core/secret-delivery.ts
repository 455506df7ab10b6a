/** What a run gets of its user's secrets: variables and files. Pure. */
import { foldersOverlap, plainPath } from './mount-path.ts';
import type { Secret, SecretContent, SecretSummary } from './secret.ts';
import { quoteForShell } from './shell-words.ts';

export interface SecretDelivery {
  readonly environment: Readonly<Record<string, string>>;
  readonly folders: readonly SecretFolder[];
  /** Sentences for the log of the run: what was left out, and why. */
  readonly notices: readonly string[];
}

/** A folder of the container that holds files of one secret. */
export interface SecretFolder {
  readonly mountPath: string;
  readonly files: readonly SecretFile[];
}

export interface SecretFile {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly mode: number;
}

/**
 * A variable that the run file sets itself wins over a secret's: it was chosen for this run. Of two secrets that want
 * the same variable or folder the first by name wins; creating the second is refused, so that this is rare.
 */
export function deliverSecrets(
  secrets: readonly Secret[],
  ownVariables: Readonly<Record<string, string>>,
): SecretDelivery {
  const environment = new Map<string, string>();
  const folders: SecretFolder[] = [];
  const notices: string[] = [];
  for (const { name, content } of secrets.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const folder = folderOf(content);
    if (folder !== undefined) {
      const other = folders.find(({ mountPath }) => foldersOverlap(mountPath, folder.mountPath));
      if (other !== undefined) {
        notices.push(`Secret ${name} is left out: another secret is mounted at ${other.mountPath} already.`);
        continue;
      }
      folders.push(folder);
    }
    for (const [variable, value] of Object.entries(secretVariables(name, content))) {
      if (Object.hasOwn(ownVariables, variable)) {
        notices.push(`The run file sets ${variable}: the value of secret ${name} is not used.`);
      } else if (environment.has(variable)) {
        notices.push(`${variable} of secret ${name} is left out: another secret sets it already.`);
      } else environment.set(variable, value);
    }
  }
  return { environment: Object.fromEntries(environment), folders, notices };
}

/** What may be known of a secret without opening it. */
export function describeSecret({
  name,
  content,
}: Secret): Pick<SecretSummary, 'variables' | 'mountPath' | 'server'> {
  const folder = folderOf(content);
  return {
    variables: Object.keys(secretVariables(name, content)),
    ...(folder === undefined ? {} : { mountPath: folder.mountPath }),
    ...(content.type === 'docker_registry' ? { server: content.server } : {}),
  };
}

/** The variables that a secret sets, with their values. */
export function secretVariables(name: string, content: SecretContent): Record<string, string> {
  switch (content.type) {
    case 'environment':
      return { [content.key]: content.value };
    case 'docker_registry':
      return {};
    case 'databricks':
      return { DATABRICKS_HOST: content.host, DATABRICKS_TOKEN: content.token };
    case 'hugging_face':
      // The second name is the one of older versions of the library.
      return { HF_TOKEN: content.token, HUGGING_FACE_HUB_TOKEN: content.token };
    case 'wandb':
      return { WANDB_API_KEY: content.apiKey };
    default:
      return pathVariables(name, content);
  }
}

type MountedContent = Extract<SecretContent, { readonly mountPath: string }>;

/** Variables that say where the files are. */
function pathVariables(name: string, content: MountedContent): Record<string, string> {
  const folder = plainPath(content.mountPath);
  const file = `${folder}/${SECRET_FILE}`;
  switch (content.type) {
    case 'mounted':
    case 'ssh':
      return { [secretPathVariable(name)]: file };
    case 'git':
      return {
        [secretPathVariable(name)]: file,
        // git gives it to a shell.
        GIT_SSH_COMMAND: `ssh -o StrictHostKeyChecking=no -i ${quoteForShell(file)}`,
      };
    case 'sftp':
      return {
        COMPOSER_SFTP_KEY_FILE: file,
        ...(content.knownHosts === undefined
          ? {}
          : { COMPOSER_SFTP_KNOWN_HOSTS_FILE: `${folder}/${KNOWN_HOSTS_FILE}` }),
      };
    case 'gcp':
      return { GOOGLE_APPLICATION_CREDENTIALS: file };
    case 's3':
      return {
        ...(content.config === undefined ? {} : { AWS_CONFIG_FILE: `${folder}/config` }),
        AWS_SHARED_CREDENTIALS_FILE: `${folder}/credentials`,
        ...(content.profile === undefined ? {} : { AWS_PROFILE: content.profile }),
      };
    case 'oci':
      return {
        OCI_CONFIG_FILE: `${folder}/config`,
        OCI_CLI_CONFIG_FILE: `${folder}/config`,
        OCI_CLI_KEY_FILE: `${folder}/${OCI_KEY_FILE}`,
      };
  }
}

const SECRET_FILE = 'secret';
const KNOWN_HOSTS_FILE = 'composer_sftp_known_hosts';
const OCI_KEY_FILE = 'key_file';
const READABLE = 0o644;
/** ssh refuses a private key that others may read. */
const PRIVATE = 0o400;

function folderOf(content: SecretContent): SecretFolder | undefined {
  if (!('mountPath' in content)) return undefined;
  const mountPath = plainPath(content.mountPath);
  return { mountPath, files: filesOf(content, mountPath) };
}

function filesOf(content: MountedContent, mountPath: string): SecretFile[] {
  switch (content.type) {
    case 'mounted':
    case 'gcp':
      return [{ name: SECRET_FILE, bytes: bytesOf(content.fileBase64), mode: READABLE }];
    case 'ssh':
    case 'git':
      return [{ name: SECRET_FILE, bytes: bytesOf(content.fileBase64), mode: PRIVATE }];
    case 'sftp':
      return [
        { name: SECRET_FILE, bytes: bytesOf(content.fileBase64), mode: PRIVATE },
        ...(content.knownHosts === undefined
          ? []
          : [textFile(KNOWN_HOSTS_FILE, content.knownHosts, READABLE)]),
      ];
    case 's3':
      return [
        ...(content.config === undefined ? [] : [textFile('config', content.config, READABLE)]),
        textFile('credentials', content.credentials, READABLE),
      ];
    case 'oci':
      return [
        textFile('config', withKeyFile(content.config, `${mountPath}/${OCI_KEY_FILE}`), PRIVATE),
        textFile(OCI_KEY_FILE, content.keyFile, PRIVATE),
      ];
  }
}

const textFile = (name: string, text: string, mode: number): SecretFile => ({
  name,
  bytes: new TextEncoder().encode(text),
  mode,
});

/** The configuration of OCI names the key by its path, which is another one in the container. */
function withKeyFile(config: string, path: string): string {
  return config.replaceAll(/^(\s*key_file\s*=).*$/gm, (_, head: string) => `${head}${path}`);
}

/** `SECRET_PATH_MY_KEY` for a secret `my-key`. */
const secretPathVariable = (name: string): string =>
  `SECRET_PATH_${name.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_')}`;

function bytesOf(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (letter) => letter.codePointAt(0) ?? 0);
}
