/**
 * Which values the log of a container must not show. They are remembered as they were when the container was made: a
 * secret may be deleted while it runs, and whoever reads its log again from the start has to mask the same. In plain in
 * memory only; on disk sealed to the node's own key, for the log of a container that a restart of the machine has ended.
 */
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { seal, unseal } from '../core/secret-seal.ts';
import type { ReadIdentities } from './node-identities.ts';
import type { RuntimeDir } from './runtime-dir.ts';

export interface MaskedValues {
  /** The folder of the container must be there. */
  remember(container: string, values: readonly string[]): Promise<void>;
  /** `undefined` when there were some, and nobody can tell them any more. */
  recall(container: string): Promise<readonly string[] | undefined>;
  forget(container: string): Promise<void>;
  /** Containers whose values are on disk, with the age of the file in milliseconds. */
  list(): Promise<readonly { readonly container: string; readonly ageMs: number }[]>;
}

interface Dependencies {
  readonly runtime: RuntimeDir;
  readonly identities: ReadIdentities;
  /** Outlives the machine's restarts. */
  readonly stateDirectory: string;
}

const ENDING = '.age';

export function createMaskedValues({ runtime, identities, stateDirectory }: Dependencies): MaskedValues {
  const folder = path.join(stateDirectory, 'masked');
  const inMemory = (container: string): string => path.join(runtime.folder(container), 'masked.json');
  const onDisk = (container: string): string => path.join(folder, `${container}${ENDING}`);
  return {
    async remember(container, values) {
      const text = JSON.stringify(values);
      const [recipient] = (await identities()).recipients;
      // Without a key nothing could be opened, so there is nothing to mask.
      if (values.length > 0 && recipient !== undefined) {
        await mkdir(folder, { recursive: true, mode: 0o700 });
        await writeFile(onDisk(container), await seal(text, [recipient]), { mode: 0o600 });
      }
      await writeFile(inMemory(container), text, { mode: 0o600 });
    },

    async recall(container) {
      const plain = await textOf(inMemory(container));
      if (plain !== undefined) return JSON.parse(plain) as string[];
      const sealed = await textOf(onDisk(container));
      if (sealed === undefined) return [];
      try {
        return JSON.parse(await unseal(sealed, (await identities()).identities)) as string[];
      } catch {
        console.error(`The last lines of ${container} can't be masked: the key of this node was taken away.`);
        return undefined;
      }
    },

    forget: (container) => rm(onDisk(container), { force: true }),

    async list() {
      const files = await readdir(folder).catch(() => []);
      const found = files
        .filter((file) => file.endsWith(ENDING))
        .map(async (file) => {
          const { mtimeMs } = await stat(path.join(folder, file));
          return { container: file.slice(0, -ENDING.length), ageMs: Date.now() - mtimeMs };
        });
      return await Promise.all(found);
    },
  };
}

async function textOf(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
