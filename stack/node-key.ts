/** Key files of nodes: age identities, newest first, readable by their owner only. */
import { existsSync } from 'node:fs';
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { newIdentityText, parseIdentities } from '../core/secret-seal.ts';
import { StackError } from './errors.ts';

export interface NewNodeKey {
  /** The public key. */
  readonly recipient: string;
  /** How many older keys are in the file below it. */
  readonly older: number;
}

/**
 * Makes a key file, or puts a new key on top of one that is there: the older keys still open what is sealed to them.
 * @throws StackError when the file holds anything but keys, or cannot be written
 */
export async function addNodeKey(file: string): Promise<NewNodeKey> {
  const next = `${file}.new`;
  await writing(file, () => mkdir(path.dirname(file), { recursive: true, mode: 0o700 }));
  // Also the lock: of two commands at a time, each has to see the key of the other.
  const handle = await writing(file, () => openAlone(file, next));
  try {
    const known = await readKeys(file);
    const { text, recipient } = await newIdentityText(new Date());
    await writing(file, async () => {
      await handle.writeFile(known === undefined ? text : `${text}\n${known.text}`);
      if (known !== undefined) {
        await handle.chown(known.uid, known.gid);
        // A group may be meant to read it, all others never are.
        await handle.chmod(known.mode & 0o770);
      }
      // Secrets are sealed to the key from now on: it must not be gone with the power.
      await handle.sync();
      await rename(next, file);
      await syncFolder(path.dirname(file));
    });
    return { recipient, older: known?.count ?? 0 };
  } catch (error) {
    await rm(next, { force: true });
    throw error;
  } finally {
    await handle.close();
  }
}

/** Makes the file only where there is none: another key would not open what is sealed to the first. */
export async function ensureNodeKey(file: string): Promise<void> {
  if (!existsSync(file)) await addNodeKey(file);
}

async function openAlone(file: string, next: string): Promise<FileHandle> {
  for (const deadline = Date.now() + WAIT_MS; ;) {
    try {
      return await open(next, 'wx', 0o600);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    if (Date.now() > deadline) {
      throw new StackError({
        message: `Another command is about to write ${file}`,
        why: `${next} is there`,
        fix: `wait for it; if it has crashed, remove ${next}`,
      });
    }
    await sleep(RETRY_MS);
  }
}

/** Making a key takes milliseconds. */
const WAIT_MS = 5_000;
const RETRY_MS = 50;

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function writing<T>(file: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    if (error instanceof StackError) throw error;
    throw new StackError({
      message: `The key file ${file} cannot be written`,
      why: (error as Error).message,
      fix: 'choose another place, or run the command as the owner of the folder',
    });
  }
}

interface KnownKeys {
  readonly text: string;
  readonly count: number;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

async function readKeys(file: string): Promise<KnownKeys | undefined> {
  try {
    const text = await readFile(file, 'utf8');
    const { uid, gid, mode } = await stat(file);
    return { text, count: parseIdentities(text).length, uid, gid, mode };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new StackError({
      message: `${file} is there, and is not a key file`,
      why: (error as Error).message,
      fix: 'name another file; this one is left as it is',
    });
  }
}
