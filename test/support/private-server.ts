/**
 * A server of private software on loopback, in a container: git over ssh (OpenSSH) and https (lighttpd and git's own
 * back end), indexes of Python packages, a repository of Debian packages. The folder beside this file says what is on
 * it.
 */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { takeLock } from '../../stack/lock.ts';
import { freePort } from './nats.ts';

const run = promisify(execFile);

export interface PrivateServer {
  /** An image for runs: Debian with git, pip, apt and ssh. */
  readonly image: string;
  /** `127.0.0.1:PORT` each; `http` serves what needs no token. */
  readonly ssh: string;
  readonly https: string;
  readonly http: string;
  /** What https wants of members: the password of user `x-access-token`. */
  readonly token: string;
  /** Private key of a user who may clone over ssh. */
  readonly sshKey: string;
  /** PEM: whom to trust over https. */
  readonly certificate: string;
  /** A commit of org/app that is the head of no branch. */
  readonly pinnedCommit: string;
  dispose(): Promise<void>;
}

const FOLDER = path.join(import.meta.dirname, 'private-server');

export async function startPrivateServer(): Promise<PrivateServer> {
  const image = await builtImage();
  const [sshPort, httpsPort, httpPort] = [await freePort(), await freePort(), await freePort()];
  const token = `glpat-${randomBytes(12).toString('hex')}`;
  const variables = { SSH_PORT: sshPort, HTTPS_PORT: httpsPort, HTTP_PORT: httpPort, TOKEN: token };
  const flags = Object.entries(variables).flatMap(([name, value]) => ['-e', `${name}=${value}`]);
  const container = await docker(
    'run',
    '-d',
    '--init',
    '--network',
    'host',
    ...flags,
    image,
    'bash',
    '/build/start.sh',
  );
  const dispose = async (): Promise<void> => void (await docker('rm', '-f', '-v', container));
  const read = (file: string): Promise<string> => docker('exec', container, 'cat', file);
  try {
    for (const port of [sshPort, httpsPort, httpPort]) await untilItListens(port, container);
    return {
      image,
      ssh: `127.0.0.1:${sshPort}`,
      https: `127.0.0.1:${httpsPort}`,
      http: `127.0.0.1:${httpPort}`,
      token,
      sshKey: `${await read('/srv/client-key')}\n`,
      certificate: `${await read('/srv/tls.crt')}\n`,
      pinnedCommit: await read('/srv/pinned-commit'),
      dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** Built once per machine and state of the folder: it installs packages. */
async function builtImage(): Promise<string> {
  const files = await Promise.all(
    (await readdir(FOLDER)).toSorted().map((name) => readFile(path.join(FOLDER, name))),
  );
  const hash = createHash('sha256').update(Buffer.concat(files)).digest('hex').slice(0, 12);
  const image = `mcli-tests/private-server:${hash}`;
  const lock = await takeLock(path.join(tmpdir(), 'mcli-tests-private-server.lock'), { waitMs: 240_000 });
  try {
    if (!(await isThere(image))) await build(image);
    return image;
  } finally {
    lock?.release();
  }
}

async function build(image: string): Promise<void> {
  const container = await docker('create', 'mcli/starter', 'bash', '/build/build.sh');
  try {
    await docker('cp', FOLDER, `${container}:/build`);
    await docker('start', '-a', container);
    await docker('commit', '--change', 'CMD ["bash"]', container, image);
  } finally {
    await docker('rm', '-f', container);
  }
}

async function isThere(image: string): Promise<boolean> {
  return await docker('image', 'inspect', image).then(
    () => true,
    () => false,
  );
}

async function docker(...args: readonly string[]): Promise<string> {
  const { stdout } = await run('docker', args, { maxBuffer: 16 * 1024 ** 2 });
  return stdout.trim();
}

async function untilItListens(port: number, container: string): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    const socket = connect(port, '127.0.0.1');
    const listens = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (listens) return;
    if (attempt > 100) {
      const { stdout, stderr } = await run('docker', ['logs', container]);
      throw new Error(`The private server does not listen on port ${port}: ${stdout}${stderr}`);
    }
    await sleep(100);
  }
}
