/**
 * The secrets of a run on its node: variables and files for its container, credentials for its image, and the values
 * that its log must not show. All of it is in memory only, and goes with the container.
 */
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { cancellationSignal } from '@temporalio/activity';
import type { RankRef } from '../core/naming.ts';
import { containerName } from '../core/naming.ts';
import { deliverSecrets } from '../core/secret-delivery.ts';
import type { SecretDelivery, SecretFile } from '../core/secret-delivery.ts';
import { registryCredentials } from '../core/secret-registry.ts';
import type { RegistryCredentials } from '../core/secret-registry.ts';
import { secretTexts } from '../core/secret-texts.ts';
import type { Secret } from '../core/secret.ts';
import { ownVariables } from '../core/tracking.ts';
import { quoteForShell } from '../core/shell-words.ts';
import { runFailure } from './attached.ts';
import type { ContainerAdditions } from './container-config.ts';
import { SECRET_ENVIRONMENT_PATH } from './container-config.ts';
import type { RankAssignment, RankExecution } from './contract.ts';
import type { Docker } from './docker.ts';
import type { MaskedValues } from './masked-values.ts';
import type { RuntimeDir } from './runtime-dir.ts';
import type { SecretStore } from './secrets.ts';
import { UnreadableSecret } from './secrets.ts';

export interface RunSecrets {
  /** Fails with SecretUnreadable, NodeWithoutKey or SecretNotPassedOn. To be called inside an activity, as the next. */
  additionsFor(input: RankExecution): Promise<ContainerAdditions>;
  authFor(
    input: RankAssignment & { readonly image: string; readonly user: string },
  ): Promise<RegistryCredentials | undefined>;
  /** Variables for a run that sets `own` itself; waits for no longer than the signal allows. */
  variablesFor(
    user: string,
    own: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<Readonly<Record<string, string>>>;
  /** What must not be seen of the secrets of a user, as they are now; waits for no longer than the signal allows. */
  textsFor(user: string, signal: AbortSignal): Promise<readonly string[]>;
  /** Values that must not be seen in the log of a container, as they were when it was made; see `secretsOf` of logs. */
  maskedFor(ref: RankRef): Promise<readonly string[] | undefined>;
  /** The container is gone. */
  released(ref: RankRef): Promise<void>;
  /** Removes what containers have left that vanished behind the agent's back. */
  sweep(): Promise<void>;
}

interface Dependencies {
  readonly store: SecretStore;
  readonly runtime: RuntimeDir;
  readonly masked: MaskedValues;
  readonly docker: Pick<Docker, 'inspect' | 'image'>;
}

/** A container is made within moments of its folder, but Docker may be away meanwhile. */
const SWEEP_AFTER_MS = 15 * 60_000;

export function createRunSecrets({ store, runtime, masked, docker }: Dependencies): RunSecrets {
  return {
    async additionsFor(input) {
      const secrets = await open(input);
      // The wait may have been long: another attempt may have made the container meanwhile, with what is in its folder.
      cancellationSignal().throwIfAborted();
      const folder = await runtime.make(containerName(input));
      // First, so that nothing of the container can be read before its values are known.
      await masked.remember(containerName(input), secrets.flatMap(secretTexts));
      const delivery = deliverSecrets(secrets, ownVariables(input.spec));
      const image = await docker.image(input.spec.image);
      return { environment: {}, mounts: await writeDelivery(folder, delivery, readsOwn(image?.user ?? '')) };
    },

    async authFor(input) {
      const found = registryCredentials(input.image, await open(input));
      return found && { ...found, server: serverAddress(found.server) };
    },

    variablesFor: async (user, own, signal) =>
      deliverSecrets(await store.openFor(user, signal), own).environment,

    textsFor: async (user, signal) => (await store.openFor(user, signal)).flatMap(secretTexts),

    maskedFor: (ref) => masked.recall(containerName(ref)),

    released: (ref) => remove(containerName(ref)),

    async sweep() {
      for (const { container, ageMs } of [...(await runtime.list()), ...(await masked.list())]) {
        if (ageMs < SWEEP_AFTER_MS || (await docker.inspect(container)) !== undefined) continue;
        await remove(container);
      }
    },
  };

  async function remove(container: string): Promise<void> {
    await runtime.remove(container);
    await masked.forget(container);
  }

  async function open(input: RankAssignment & { readonly user: string }): Promise<readonly Secret[]> {
    try {
      return await store.openFor(input.user, cancellationSignal());
    } catch (error) {
      if (!(error instanceof UnreadableSecret)) throw error;
      const { rank, node } = input;
      throw runFailure({ type: error.type, message: error.message, rank, node });
    }
  }
}

/** Whether the user of an image can read the private files of the agent's user. */
function readsOwn(imageUser: string): boolean {
  const [user = ''] = imageUser.split(':');
  return ['', 'root', '0', String(process.getuid?.())].includes(user);
}

async function writeDelivery(
  folder: string,
  delivery: SecretDelivery,
  readsOwn: boolean,
): Promise<ContainerAdditions['mounts']> {
  const mounts = [];
  if (Object.keys(delivery.environment).length > 0 || delivery.notices.length > 0) {
    const source = path.join(folder, 'environment');
    const bytes = Buffer.from(environmentScript(delivery));
    await writeFolder(source, [{ name: path.basename(SECRET_ENVIRONMENT_PATH), bytes, mode: 0o444 }]);
    mounts.push({ source, target: path.dirname(SECRET_ENVIRONMENT_PATH), readOnly: true });
  }
  for (const [index, { mountPath, files }] of delivery.folders.entries()) {
    const source = path.join(folder, String(index));
    await writeFolder(source, readsOwn ? files : files.map(readable));
    mounts.push({ source, target: mountPath, readOnly: true });
  }
  return mounts;
}

/**
 * For a user of the image that may have any number, which only the image knows. ssh takes a key that others may read
 * as long as it belongs to another user; outside of the container, nobody gets as far as the file.
 */
function readable(file: SecretFile): SecretFile {
  return { ...file, mode: file.mode | 0o444 };
}

/** The folder may be entered by every user of the container; who may read a file is the file's to say. */
async function writeFolder(folder: string, files: readonly SecretFile[]): Promise<void> {
  await mkdir(folder);
  await chmod(folder, 0o755);
  for (const { name, bytes, mode } of files) {
    const file = path.join(folder, name);
    await writeFile(file, bytes, { mode: 0o600 });
    await chmod(file, mode);
  }
}

/** Notices are printed once: the container is started twice where there are integrations. */
const NOTICED = '/mnt/config/.secret-notices';

function environmentScript({ environment, notices }: SecretDelivery): string {
  const lines = Object.entries(environment).map(([name, value]) => `export ${name}=${quoteForShell(value)}`);
  if (notices.length === 0) return `${lines.join('\n')}\n`;
  const words = notices.map((notice) => `  echo ${quoteForShell(`mcli: ${notice}`)}`);
  return `${lines.join('\n')}\nif [ ! -e ${NOTICED} ]; then\n${words.join('\n')}\n  { : > ${NOTICED}; } 2>/dev/null || true\nfi\n`;
}

/** Docker Hub has a name of its own for its log-in. */
const serverAddress = (registry: string): string =>
  registry === 'docker.io' ? 'https://index.docker.io/v1/' : registry;
