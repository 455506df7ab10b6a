/**
 * Which values the log of a container must not show. They are remembered as they were when the container was made: a
 * secret may be deleted while it runs, and whoever reads its log again from the start has to mask the same. In plain in
 * memory only; on disk sealed to the node's own key, for the log of a container that a restart of the machine has ended.
 */
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
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
  /** Seals what is on disk to the newest key of this node: the older ones are about to be removed. */
  sealAgain(): Promise<void>;
  /** Containers whose values are on disk, with the age of the file in milliseconds. */
  list(): Promise<readonly { readonly container: string; readonly ageMs: number }[]>;
}

interface Dependencies {
  readonly runtime: RuntimeDir;
  readonly identities: ReadIdentities;
  /** Outlives the machine's restarts. */
  readonly stateDirectory: string;
}

export function createMaskedValues({ runtime, identities, stateDirectory }: Dependencies): MaskedValues {
  const folder = path.join(stateDirectory, 'masked');
  const inMemory = (container: string): string => path.join(runtime.folder(container), 'masked.json');
  const onDisk = (container: string): string => path.join(folder, `${container}.age`);
  return {
    async remember(container, values) {
      const text = JSON.stringify(values);
      const [recipient] = (await identities()).recipients;
      // Without a key nothing could be opened, so there is nothing to mask.
      if (values.length > 0 && recipient !== undefined) {
        await mkdir(folder, { recursive: true, mode: 0o700 });
        await writeWhole(onDisk(container), await seal(text, [recipient]));
      }
      await writeWhole(inMemory(container), text);
    },

    async recall(container) {
      const plain = parse(await textOf(inMemory(container)));
      if (plain !== undefined) return plain;
      const sealed = await textOf(onDisk(container));
      if (sealed === undefined) return [];
      try {
        return JSON.parse(await unseal(sealed, (await identities()).identities)) as string[];
      } catch {
        console.error(`The last lines of ${container} can't be masked: the key of this node was taken away.`);
        return undefined;
      }
    },

    async forget(container) {
      for (const file of [onDisk(container), unfinished(onDisk(container))]) await rm(file, { force: true });
    },

    async sealAgain() {
      const { identities: known, recipients } = await identities();
      for (const { container } of await list()) {
        const text = await unseal((await textOf(onDisk(container))) ?? '', known).catch(() => undefined);
        const [newest] = recipients;
        if (text !== undefined && newest !== undefined) {
          await writeWhole(onDisk(container), await seal(text, [newest]));
        }
      }
    },

    list,
  };

  async function list(): ReturnType<MaskedValues['list']> {
    const found = new Map<string, number>();
    for (const file of await readdir(folder).catch(() => [])) {
      const [, container] = FILE_NAME.exec(file) ?? [];
      if (container === undefined) continue;
      const { mtimeMs } = await stat(path.join(folder, file)).catch(() => ({ mtimeMs: Date.now() }));
      found.set(container, Date.now() - mtimeMs);
    }
    return [...found].map(([container, ageMs]) => ({ container, ageMs }));
  }
}

const unfinished = (file: string): string => `${file}.new`;
const FILE_NAME = /^(.+)\.age(?:\.new)?$/;

/** An agent may be killed at any moment: half a file would keep the log of its container from being read. */
async function writeWhole(file: string, text: string): Promise<void> {
  await writeFile(unfinished(file), text, { mode: 0o600 });
  await rename(unfinished(file), file);
}

/** Undefined for what is no list of texts, or not there. */
function parse(text: string | undefined): string[] | undefined {
  try {
    const values: unknown = JSON.parse(text ?? '');
    return Array.isArray(values) && values.every((value) => typeof value === 'string') ? values : undefined;
  } catch {
    return undefined;
  }
}

async function textOf(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
