/** Keeps what is needed to find the cause of a violation, or of an end of the suite itself, before all is removed. */
import { cp, mkdtemp, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Violation } from './findings.ts';
import type { Evidence } from './evidence.ts';
import { NODES } from './world.ts';

const KEPT = /\.(log|json|db|db-wal)$/;

/** @returns the folder in which it is */
export async function keepLogs(home: string, seed: number): Promise<string> {
  const kept = await mkdtemp(path.join(tmpdir(), `mcli-faults-of-seed-${seed}-`));
  const folders = ['stack/logs', 'stack/data', ...NODES.flatMap((node) => [node, `${node}/disk/mcli`])];
  for (const folder of folders) {
    // The suite may have ended before there was one.
    for (const file of await readdir(path.join(home, folder)).catch(() => [])) {
      if (KEPT.test(file)) await cp(path.join(home, folder, file), path.join(kept, folder, file));
    }
  }
  return kept;
}

/** Of the runs concerned only: all that all have printed is much. */
export async function keepEvidence(
  folder: string,
  evidence: Evidence,
  violations: readonly Violation[],
): Promise<void> {
  const runs = new Set(violations.map(({ run }) => run));
  const isConcerned = ({ run }: { readonly run: string }): boolean => runs.has(run);
  const concerned = {
    ...evidence,
    containers: evidence.containers.filter(isConcerned),
    logs: evidence.logs.filter(isConcerned),
    follows: evidence.follows.filter(isConcerned),
    reads: evidence.reads.filter(isConcerned),
  };
  const text = JSON.stringify({ violations, ...concerned }, null, 1);
  await writeFile(path.join(folder, 'evidence.json'), text);
}
