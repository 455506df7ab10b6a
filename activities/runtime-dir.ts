/**
 * A folder in memory for each container of this node: made before the container, gone with it. What is in it never
 * touches a disk, unless the machine swaps; only the user of the agent can enter it.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import {
  chmod,
  lstat,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  rmdir,
  stat,
  statfs,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';

export interface RuntimeDir {
  /** The folder of a container, whether it is there or not. */
  folder(container: string): string;
  /** Makes the folder; empties one that is there. */
  make(container: string): Promise<string>;
  remove(container: string): Promise<void>;
  /** Containers that have a folder, with the age of the folder in milliseconds. */
  list(): Promise<readonly { readonly container: string; readonly ageMs: number }[]>;
}

interface Options {
  /** Where folders may be, in the order of preference; the first that is in memory is taken. */
  readonly roots: readonly string[];
  /** Whose containers: agents that share a machine do not see each other's folders. */
  readonly owner: string;
  /** Outlives the machine's restarts. What roots there are depends on the environment, which may be another next time. */
  readonly stateDirectory: string;
  readonly warn: (message: string) => void;
}

/** @throws Error when somebody else could look into the folder, or it cannot be made. */
export async function openRuntimeDir({ roots, owner, stateDirectory, warn }: Options): Promise<RuntimeDir> {
  const root = await chooseRoot(roots, warn);
  await mkdir(root, { recursive: true, mode: 0o700 });
  await refuseForeign(root);
  const own = path.join(root, createHash('sha256').update(owner).digest('hex').slice(0, 12));
  const all = await rememberPlace(path.join(stateDirectory, 'runtime-places.json'), own);
  const folder = (container: string): string => path.join(own, container);
  return {
    folder,
    async make(container) {
      await rm(folder(container), { recursive: true, force: true });
      await mkdir(folder(container), { recursive: true, mode: 0o700 });
      return folder(container);
    },
    async remove(container) {
      for (const place of all) {
        await rm(path.join(place, container), { recursive: true, force: true });
        // Of a stack that is gone nothing shall stay; others of this one keep the folder.
        await rmdir(place).catch(() => undefined);
      }
    },
    list: async () => (await Promise.all(all.map(containersIn))).flat(),
  };
}

/** This place, and those where an earlier agent has left something. */
async function rememberPlace(file: string, own: string): Promise<readonly string[]> {
  const earlier = await readPlaces(file);
  const all = [own, ...earlier.filter((place) => place !== own && existsSync(place))];
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  await writeFile(`${file}.new`, JSON.stringify(all));
  await rename(`${file}.new`, file);
  return all;
}

/** None where the file is not there, or was torn by a power cut. */
async function readPlaces(file: string): Promise<readonly string[]> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as readonly string[];
  } catch {
    return [];
  }
}

async function containersIn(place: string): ReturnType<RuntimeDir['list']> {
  const containers = await readdir(place).catch(() => []);
  const ages = await Promise.all(
    containers.map(async (container) => {
      const found = await stat(path.join(place, container)).catch(() => undefined);
      return found === undefined ? [] : [{ container, ageMs: Date.now() - found.mtimeMs }];
    }),
  );
  return ages.flat();
}

/** Where the folders of an agent are unless a setting says otherwise. */
export function defaultRuntimeRoots(xdgRuntimeDir: string | undefined): readonly string[] {
  const uid = process.getuid?.() ?? 0;
  if (uid === 0) return ['/run/mcli', '/dev/shm/mcli'];
  return [...(xdgRuntimeDir ? [path.join(xdgRuntimeDir, 'mcli')] : []), `/dev/shm/mcli-${uid}`];
}

async function chooseRoot(roots: readonly string[], warn: Options['warn']): Promise<string> {
  for (const root of roots) if (await isInMemory(path.dirname(root), root)) return root;
  const [first = ''] = roots;
  warn(
    `${first} is not in memory (tmpfs): secrets of runs are written to a disk while their containers live. ` +
      'Mount a tmpfs there, or name one in MCLI_NODE_RUNTIME_DIR.',
  );
  return first;
}

/** `tmpfs` and `ramfs`, from Linux' magic.h. */
const IN_MEMORY = [0x01021994, 0x858458f6];

/** Of the folder itself where it is there, else of the one that it would be made in. */
async function isInMemory(...folders: readonly string[]): Promise<boolean> {
  for (const folder of folders.toReversed()) {
    const found = await statfs(folder).catch(() => undefined);
    if (found !== undefined) return IN_MEMORY.includes(found.type);
  }
  return false;
}

/** Anyone may make folders in /dev/shm: one that another user has made must not be trusted. */
async function refuseForeign(root: string): Promise<void> {
  const found = await lstat(root);
  if (!found.isDirectory()) {
    throw new Error(
      `${root} is no folder, or a link to one: remove it, or name another in MCLI_NODE_RUNTIME_DIR.`,
    );
  }
  const { uid, mode } = found;
  const own = process.getuid?.() ?? uid;
  if (uid !== own) {
    throw new Error(
      `${root} belongs to user ${uid}, not to ${own}: remove it, or name another in MCLI_NODE_RUNTIME_DIR.`,
    );
  }
  if ((mode & 0o077) !== 0) await chmod(root, 0o700);
}
