/** A compose implementation for tests: the one of this machine, or the distribution's, installed when root runs them. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const exec = promisify(execFile);
const INSTALL_TIMEOUT_MS = 150_000;

/** The words that start it, or undefined where none is installed and none can be. */
export async function findCompose(): Promise<readonly string[] | undefined> {
  return (await installedCompose()) ?? (await installCompose());
}

/** What `config` makes of the compose file of `directory`: parsed, with variables filled in. */
export async function composeConfig(
  [program = '', ...words]: readonly string[],
  directory: string,
  env: Readonly<Record<string, string>>,
): Promise<string> {
  const { stdout } = await exec(program, [...words, 'config'], {
    cwd: directory,
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...env },
  });
  return stdout;
}

async function installedCompose(): Promise<readonly string[] | undefined> {
  for (const candidate of [['docker', 'compose'], ['docker-compose']]) {
    const [program = '', ...words] = candidate;
    if (await succeeds(program, [...words, 'version'])) return candidate;
  }
  return undefined;
}

async function installCompose(): Promise<readonly string[] | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const lock = ['-o', 'DPkg::Lock::Timeout=60'];
  const installed =
    (await succeeds('apt-get', [...lock, 'update'])) &&
    (await succeeds('apt-get', [...lock, 'install', '-y', '--no-install-recommends', 'docker-compose']));
  return installed ? installedCompose() : undefined;
}

async function succeeds(program: string, args: readonly string[]): Promise<boolean> {
  try {
    await exec(program, args, {
      timeout: INSTALL_TIMEOUT_MS,
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
    return true;
  } catch {
    return false;
  }
}
