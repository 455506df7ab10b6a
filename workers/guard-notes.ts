/**
 * Which containers the guard of a node has ended: small files by which the agent, which may not have been there, tells
 * such an end from one that somebody else has brought.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { containerName } from '../core/naming.ts';
import type { RankRef } from '../core/naming.ts';

export interface GuardNotes {
  /** For how long the control plane had not heard of the node, in milliseconds; undefined when the guard was not it. */
  unheardMs(ref: RankRef): Promise<number | undefined>;
  remove(ref: RankRef): Promise<void>;
  /** Removes what containers have left that vanished behind the agent's back. */
  sweep(isThere: (container: string) => Promise<boolean>): Promise<void>;
}

const folderOf = (stateDirectory: string): string => path.join(stateDirectory, 'guarded');

/** Before the end, of which it is no condition: a full disk takes no note. */
export function noteEnd(stateDirectory: string, container: string, unheardMs: number): void {
  try {
    mkdirSync(folderOf(stateDirectory), { recursive: true, mode: 0o700 });
    writeFileSync(path.join(folderOf(stateDirectory), container), String(unheardMs), { flag: 'wx' });
  } catch {
    // The first note stands.
  }
}

export function createGuardNotes(stateDirectory: string): GuardNotes {
  const folder = folderOf(stateDirectory);
  const remove = (container: string): Promise<void> => rm(path.join(folder, container), { force: true });
  return {
    async unheardMs(ref) {
      const text = await readFile(path.join(folder, containerName(ref)), 'utf8').catch(() => '');
      return Number.parseInt(text, 10) || undefined;
    },
    remove: (ref) => remove(containerName(ref)),
    async sweep(isThere) {
      for (const container of await readdir(folder).catch(() => [])) {
        if (!(await isThere(container))) await remove(container);
      }
    },
  };
}
