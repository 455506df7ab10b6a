/** Which process guards a node, in a small file: for its successor, and for an agent that wants no guard any more. */
import path from 'node:path';
import { readJson, writeJson } from '../stack/json-file.ts';
import { identify, isAlive, signal } from '../stack/process-identity.ts';
import type { ProcessIdentity } from '../stack/process-identity.ts';

const guardFile = (stateDirectory: string): string => path.join(stateDirectory, 'guard.json');

export function endGuard(stateDirectory: string): void {
  const guard = knownGuard(stateDirectory);
  if (guard) signal(guard, 'SIGTERM');
}

/**
 * Makes this process the guard. The newest stays: it is of the newest build. On a full disk, which can't take its name,
 * it guards all the same.
 */
export function becomeGuard(stateDirectory: string): void {
  endGuard(stateDirectory);
  try {
    writeJson(guardFile(stateDirectory), identify(process.pid));
  } catch (error) {
    console.error(`The guard could not write down who it is: ${String(error)}`);
  }
}

/** Whether another guard has come that did not know of this one. */
export function hasSuccessor(stateDirectory: string): boolean {
  const guard = knownGuard(stateDirectory);
  return guard !== undefined && guard.pid !== process.pid && isAlive(guard);
}

/** Nobody where a loss of power has left an empty file. */
function knownGuard(stateDirectory: string): ProcessIdentity | undefined {
  try {
    return readJson(guardFile(stateDirectory)) as ProcessIdentity | undefined;
  } catch {
    return undefined;
  }
}
