/** Packages from PyPI in folders of their own: one for each list, made once per machine. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

/**
 * A list names everything with its version: what it leaves out of a package's dependencies, our use does not need.
 * @param list a file of this folder; answers with the folder for PYTHONPATH
 */
export async function installPythonPackages(list: string): Promise<string> {
  const requirements = path.join(import.meta.dirname, list);
  const hash = createHash('sha256').update(await readFile(requirements));
  const folder = path.join(tmpdir(), `mcli-python-${hash.digest('hex').slice(0, 12)}`);
  if (existsSync(folder)) return folder;
  const partial = await mkdtemp(`${folder}-`);
  const flags = [
    '--quiet',
    '--disable-pip-version-check',
    '--no-deps',
    '--target',
    partial,
    '-r',
    requirements,
  ];
  await promisify(execFile)('python3', ['-m', 'pip', 'install', ...flags]);
  // Two test files may arrive here together: the first folder stays.
  await rename(partial, folder).catch(() => rm(partial, { recursive: true }));
  return folder;
}
