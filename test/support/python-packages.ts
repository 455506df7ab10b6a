/** Packages from PyPI in folders of their own: one for each list, made once per machine. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rename } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { takeLock } from '../../stack/lock.ts';

const run = promisify(execFile);
const INSTALL_MS = 150_000;

/**
 * A list names everything with its version: what it leaves out of a package's dependencies, our use does not need.
 * @param list a file of this folder
 * @param image whose Python the packages are for; the machine's own when absent
 * @returns the folder for PYTHONPATH
 */
export async function installPythonPackages(list: string, image?: string): Promise<string> {
  const requirements = path.join(import.meta.dirname, list);
  const version = await pythonOf(image);
  const hash = createHash('sha256')
    .update(version)
    .update(await readFile(requirements));
  const folder = path.join(tmpdir(), `mcli-python-${hash.digest('hex').slice(0, 12)}`);
  // Two test files may arrive here together.
  const lock = await takeLock(`${folder}.lock`, { waitMs: INSTALL_MS });
  try {
    if (!existsSync(folder)) await install(requirements, version, folder, image !== undefined);
  } finally {
    lock?.release();
  }
  return folder;
}

async function install(
  requirements: string,
  version: string,
  folder: string,
  isCompiled: boolean,
): Promise<void> {
  const partial = await mkdtemp(`${folder}-`);
  const target = ['--no-deps', '--only-binary=:all:', '--python-version', version, '--target', partial];
  // Python compiles by itself what it loads, where it may write: a container may not.
  const compile = isCompiled ? '--compile' : '--no-compile';
  const quiet = ['--quiet', '--disable-pip-version-check', compile];
  await run('python3', ['-m', 'pip', 'install', ...quiet, ...target, '-r', requirements]);
  await rename(partial, folder);
}

async function pythonOf(image: string | undefined): Promise<string> {
  const ask = ['python3', '-c', 'import sys; print("%d.%d" % sys.version_info[:2])'];
  const command = image === undefined ? ask : ['docker', 'run', '--rm', image, ...ask];
  const { stdout } = await run(command[0] ?? '', command.slice(1));
  return stdout.trim();
}
