/** A compose implementation for tests: the one of this machine, or the distribution's, installed when root runs them. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { installPackage } from './apt.ts';

const exec = promisify(execFile);

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
  try {
    await installPackage('docker-compose');
  } catch {
    return undefined;
  }
  return await installedCompose();
}

async function succeeds(program: string, args: readonly string[]): Promise<boolean> {
  try {
    await exec(program, args);
    return true;
  } catch {
    return false;
  }
}
