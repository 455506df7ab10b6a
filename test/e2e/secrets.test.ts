import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestHome } from '../support/mcli.ts';
import { pushImage, startRegistry } from '../support/registry.ts';

const VARIABLE = 'plain-value-of-a-variable';
const FILE = 'plain-content-of-a-file';
const PASSWORD = 'pass';
/** Of user `user` with `PASSWORD`. */
const HTPASSWD = 'user:$2y$05$vnobXXfZFZfw5c53S9Oo9uU79MeWn603XvgYTz6OIAJn/KZ4zUnXW\n';

let home: TestHome;
beforeAll(async () => {
  home = await TestHome.up('--cpu-slots=2');
});
afterAll(() => home?.down());

const runFile = (command: string, image = 'mcli/starter'): string =>
  `name: secret\nimage: ${image}\ncompute: { gpus: 0 }\ncommand: |\n${command.replaceAll(/^/gm, '  ')}\n`;

async function create(...args: readonly string[]): Promise<void> {
  const { code, stderr } = await home.mcli('create', 'secret', ...args);
  expect(code, stderr).toBe(0);
}

async function outcome(content: string) {
  const run = await home.submit(content);
  await home.until(async () => /^(COMPLETED|FAILED)$/.test(String((await home.describe(run))['status'])));
  return await home.describe(run);
}

describe('secrets of a user', () => {
  it('reach every later run, and nothing else that can be read', async () => {
    await create('env', 'API_KEY', '--name', 'api', '--from-file', await home.file('v', VARIABLE));
    await create('mounted', await home.file('payload', FILE), '--name', 'data');
    // The plain values came from there.
    for (const name of ['v', 'payload']) await writeFile(path.join(home.path, name), '');
    const { stdout } = await home.mcli('get', 'secrets');
    expect(stdout).toMatch(/^NAME  TYPE +CREATED_AT\napi   environment  .*\ndata  mounted      .*\n$/);

    const ids = await home.mcliWith({ MCLI_USER: 'ann@x.y' }, 'get', 'secrets', '--ids');
    expect(ids).toMatchObject({ code: 0, stdout: '' });
    expect((await home.mcli('get', 'secrets', '--ids')).stdout).toMatch(/^NAME.* ID\n.*\.api\n.*\.data\n$/);
    for (const type of ['env', 'environment']) {
      expect((await home.mcli('get', 'secrets', '--type', type, '-o', 'name')).stdout).toBe('api\n');
    }

    const run = await home.submit(
      runFile(
        'echo "$API_KEY $(cat $SECRET_PATH_DATA)"; env | base64 -w0; until [ -e /go ]; do sleep 0.1; done',
      ),
    );
    await home.untilStatus(run, 'RUNNING');
    await home.until(async () => (await home.mcli('logs', run)).stdout.includes('*** ***'));
    expect(placesOf(run, VARIABLE, FILE)).toEqual([]);
    execFileSync('docker', ['exec', `mcli-${run}-0-0`, 'touch', '/go']);
    await home.untilStatus(run, 'COMPLETED');
    expect(placesOf(run, VARIABLE, FILE)).toEqual([]);
    const inMemory = ['/run/mcli', '/dev/shm/mcli']
      .filter((folder) => existsSync(folder))
      .flatMap((folder) => readdirSync(folder, { recursive: true, encoding: 'utf8' }));
    expect(inMemory.filter((file) => file.includes(run))).toEqual([]);
  });

  it('are gone from the next run when they are deleted', async () => {
    const refused = await home.mcli('delete', 'secret', 'api', 'other');
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('matching: other') });
    const both = await home.mcli('delete', 'secret', 'api', '--all', '-y');
    expect(both).toMatchObject({ code: 2, stderr: expect.stringContaining('Both names and --all') });
    const asked = await home.mcli('delete', 'secret', 'api');
    expect(asked).toMatchObject({ code: 1, stderr: expect.stringContaining('Say yes beforehand: -y') });
    expect((await home.mcli('delete', 'secret', '*', '-y')).code).toBe(0);
    expect((await home.mcli('get', 'secrets', '-o', 'name')).stdout).toBe('');
    expect(await outcome(runFile('test -z "$API_KEY" && test ! -e /secrets'))).toMatchObject({
      status: 'COMPLETED',
    });
  });

  it('end a run before its command when the key of its node is lost', async () => {
    await create('env', 'API_KEY', '--name', 'api', '--from-file', await home.file('v', VARIABLE));
    const keyFile = path.join(home.path, 'keys', 'r1z1.key');
    await copyFile(keyFile, `${keyFile}.lost`);
    await writeFile(keyFile, '');
    expect((await home.mcli('create', 'node-key', keyFile)).code).toBe(0);
    expect(await outcome(runFile('echo never'))).toMatchObject({
      status: 'FAILED',
      failure: 'SecretUnreadable',
      message: expect.stringContaining('Secret api cannot be opened'),
    });
    await writeFile(
      keyFile,
      `${await readFile(keyFile, 'utf8')}${await readFile(`${keyFile}.lost`, 'utf8')}`,
    );
    expect(await outcome(runFile(`test "$API_KEY" = ${VARIABLE}`))).toMatchObject({ status: 'COMPLETED' });
  });
});

describe('a private image', () => {
  it('needs the secret for its registry', async () => {
    const registry = await startRegistry(HTPASSWD);
    const image = `${registry.address}/team/private:1`;
    const docker = (...args: readonly string[]) =>
      create('docker', '--name', 'reg', '--server', registry.address, '--username', 'user', ...args);
    try {
      await pushImage(image, 1000, undefined, { username: 'user', password: PASSWORD });
      expect(await outcome(runFile('true', image))).toMatchObject({
        reason: 'FailedPull',
        message: expect.stringContaining(`no docker secret for ${registry.address}`),
      });
      await docker('--from-file', await home.file('p', 'wrong'));
      expect(await outcome(runFile('true', image))).toMatchObject({
        reason: 'FailedPull',
        message: expect.stringContaining(`Secret reg for ${registry.address} was tried`),
      });
      await home.mcli('delete', 'secret', 'reg', '-y');
      await docker('--from-file', await home.file('p', PASSWORD));
      // There is nothing but random bytes in it: it could be pulled, and has no bash.
      expect(await outcome(runFile('true', image))).toMatchObject({ failure: 'ImageWithoutBash' });
    } finally {
      execFileSync('docker', ['rmi', '-f', image]);
      await registry.dispose();
    }
  });
});

/** Where any of the values stands, as it is or in base64: files of the stack, Docker, and processes outside. */
function placesOf(run: string, ...values: readonly string[]): string[] {
  const words = values.flatMap((value) => [value, Buffer.from(value).toString('base64').slice(0, -4)]);
  const has = (text: string): boolean => words.some((word) => text.includes(word));
  const files = readdirSync(home.path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .filter((file) => has(readIfThere(file)));
  const containers = has(inspect(`mcli-${run}-0-0`)) ? ['docker inspect'] : [];
  const processes = readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid) && !readIfThere(`/proc/${pid}/cgroup`).includes('docker'))
    .filter((pid) => has(readIfThere(`/proc/${pid}/cmdline`) + readIfThere(`/proc/${pid}/environ`)));
  return [...files, ...containers, ...processes];
}

function inspect(container: string): string {
  try {
    return execFileSync('docker', ['inspect', container], { encoding: 'utf8', stdio: 'pipe' });
  } catch {
    return '';
  }
}

/** Byte for byte; what has vanished meanwhile holds nothing. */
function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}
