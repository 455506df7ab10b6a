/** Key files of nodes: age identities, newest first, readable by their owner only. */
import { existsSync } from 'node:fs';
import { chown, mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
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
  const known = await readKeys(file);
  const { text, recipient } = await newIdentityText(new Date());
  const next = `${file}.${process.pid}.new`;
  try {
    await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
    await writeFile(next, known === undefined ? text : `${text}\n${known.text}`, { mode: 0o600, flag: 'wx' });
    if (known !== undefined) await chown(next, known.uid, known.gid);
    await rename(next, file);
  } catch (error) {
    throw new StackError({
      message: `The key file ${file} cannot be written`,
      why: (error as Error).message,
      fix: 'choose another place, or run the command as the owner of the folder',
    });
  }
  return { recipient, older: known?.count ?? 0 };
}

/** Makes the file only where there is none: another key would not open what is sealed to the first. */
export async function ensureNodeKey(file: string): Promise<void> {
  if (!existsSync(file)) await addNodeKey(file);
}

async function readKeys(
  file: string,
): Promise<{ text: string; count: number; uid: number; gid: number } | undefined> {
  try {
    const text = await readFile(file, 'utf8');
    const { uid, gid } = await stat(file);
    return { text, count: parseIdentities(text).length, uid, gid };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new StackError({
      message: `${file} is there, and is not a key file`,
      why: (error as Error).message,
      fix: 'name another file; this one is left as it is',
    });
  }
}
