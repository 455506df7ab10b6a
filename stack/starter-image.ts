/**
 * The image of the first run, `bash`: pulled where a registry is reachable. Elsewhere one is built from Debian packages,
 * once, and has the names of all that the examples ask for: they work on a machine that sees nothing but package mirrors.
 */
import { createReadStream, mkdirSync, readFileSync } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { dockerRequest } from './docker-engine.ts';
import type { Say } from './errors.ts';
import { StackError } from './errors.ts';
import type { StackHome } from './home.ts';
import { packageFile } from './package-root.ts';
import { asRoot, lastLines, runProgram } from './shell.ts';

const FIRST_IMAGE = 'bash:latest';
const EXAMPLE_IMAGES = [FIRST_IMAGE, 'python:3'];
/** Says what it is, to those who look at `docker images`. */
const BUILT_IMAGE = 'mcli/starter:latest';
const LABEL = 'mcli.starter=1';

const ASK_TIMEOUT_MS = 10_000;
/** Without a word from the registry for so long, there is none. */
const PULL_SILENCE_MS = 15_000;
const BUILD_TIMEOUT_MS = 15 * 60_000;
const IMPORT_TIMEOUT_MS = 5 * 60_000;

/**
 * Makes the examples runnable. The caller holds the set-up lock.
 * @throws StackError when there is neither a registry nor a way to build the image here.
 */
export async function ensureStarterImage(home: StackHome, docker: string, say: Say): Promise<void> {
  if (!(await hasImage(docker, BUILT_IMAGE))) {
    if (await hasImage(docker, FIRST_IMAGE)) return;
    const pullProblem = await pull(docker, say);
    if (pullProblem === undefined) return;
    say(`No registry is reachable (${pullProblem}).`);
  }
  await ensureBuiltImage(home, docker, say);
}

/** Builds it, whatever a registry has, where it is not there yet; what has one of its names already keeps it. */
export async function ensureBuiltImage(home: StackHome, docker: string, say: Say): Promise<void> {
  if (!(await hasImage(docker, BUILT_IMAGE))) {
    say(`Building ${BUILT_IMAGE} from Debian packages, once …`);
    await build(home, docker, say);
  }
  for (const name of EXAMPLE_IMAGES) if (!(await hasImage(docker, name))) await tag(docker, name);
}

async function hasImage(docker: string, image: string): Promise<boolean> {
  const { status } = await dockerRequest(docker, {
    path: `/images/${image}/json`,
    timeoutMs: ASK_TIMEOUT_MS,
  });
  return status === 200;
}

/** Answers what went wrong, if anything did. */
async function pull(docker: string, say: Say): Promise<string | undefined> {
  say(`Pulling ${FIRST_IMAGE}, the image of the first run …`);
  try {
    const { status, body } = await dockerRequest(docker, {
      path: '/images/create?fromImage=bash&tag=latest',
      method: 'POST',
      timeoutMs: PULL_SILENCE_MS,
    });
    if (status !== 200) return lastLines((JSON.parse(body) as { message: string }).message, 1);
    // Docker has said 200 before it knows: a failure comes as the last message.
    const failure = body.split('\n').find((line) => line.includes('"error"'));
    return failure === undefined ? undefined : (JSON.parse(failure) as { error: string }).error;
  } catch (error) {
    return (error as Error).message;
  }
}

async function build(home: StackHome, docker: string, say: Say): Promise<void> {
  const startedAt = Date.now();
  const suite = debianSuite();
  await ensureMmdebstrap(say);
  const archive = path.join(home.root, 'starter-image.tar');
  mkdirSync(home.root, { recursive: true });
  try {
    await makeRootFs(suite, archive, say);
    await importImage(docker, archive);
    const { size } = await stat(archive);
    say(
      `Built ${BUILT_IMAGE} (also ${EXAMPLE_IMAGES.join(', ')}): Debian ${suite} with bash, git, python3 and pip, ` +
        `${Math.round(size / 1e6)} MB, in ${((Date.now() - startedAt) / 1000).toFixed(0)} s`,
    );
  } finally {
    await rm(archive, { force: true });
  }
}

function debianSuite(): string {
  let release = '';
  try {
    release = readFileSync('/etc/os-release', 'utf8');
  } catch {
    // Not Linux, or a very small one: no suite.
  }
  const suite = /^VERSION_CODENAME=(.+)$/m.exec(release)?.[1];
  if (suite !== undefined && /^ID=(debian|ubuntu)$/m.test(release)) return suite;
  throw new StackError({
    message: `The image ${BUILT_IMAGE} is not there, and cannot be made here`,
    why: 'no registry is reachable, and only Debian and Ubuntu can build it from their packages',
    fix: `bring ${FIRST_IMAGE} from another machine: docker save bash | ssh THIS-MACHINE docker load`,
  });
}

async function ensureMmdebstrap(say: Say): Promise<void> {
  if ((await runProgram(['mmdebstrap', '--version'], { timeoutMs: 20_000 })).code === 0) return;
  const install = 'apt-get install -y --no-install-recommends mmdebstrap';
  if (process.getuid?.() !== 0) {
    throw new StackError({
      message: `The image ${BUILT_IMAGE} is not there, and cannot be made yet`,
      why: 'no registry is reachable; building it needs mmdebstrap, which only root can install',
      fix: `${asRoot('apt-get update')} && ${asRoot(install)}    (then repeat the command)`,
    });
  }
  say('Installing mmdebstrap, which makes an image from Debian packages …');
  for (const step of ['apt-get update', install]) {
    const { code, tail } = await runProgram(step.split(' '), {
      timeoutMs: BUILD_TIMEOUT_MS,
      env: { DEBIAN_FRONTEND: 'noninteractive' },
    });
    if (code !== 0) {
      throw new StackError({
        message: `Set-up stopped while it installed mmdebstrap: ${step}`,
        why: lastLines(tail, 4),
        fix: `connect to the network (a Debian mirror, or a registry that has ${FIRST_IMAGE}) and repeat the command`,
      });
    }
  }
}

async function makeRootFs(suite: string, archive: string, say: Say): Promise<void> {
  const packages = readFileSync(packageFile('images/starter/packages.txt'), 'utf8').trim().split('\n');
  const { code, tail } = await runProgram(
    [
      ['mmdebstrap', '--variant=apt', `--include=${packages.join(',')}`],
      "--aptopt=APT::Install-Recommends 'false'",
      // The image is thrown away when the machine crashes half-way: no need to wait for the disk after every file.
      '--dpkgopt=force-unsafe-io',
      ...['doc', 'man', 'locale', 'info'].map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`),
      `--customize-hook=sh ${packageFile('images/starter/customize.sh')} "$1"`,
      [suite, archive],
    ].flat(),
    {
      timeoutMs: BUILD_TIMEOUT_MS,
      onLine: (line) => {
        const step = /^I: (running apt-get|downloading|extracting|installing|creating)(.*)\.\.\.$/.exec(line);
        if (step !== null) say(`  ${step[1]}${step[2]} …`);
      },
    },
  );
  if (code !== 0) {
    throw new StackError({
      message: `Set-up stopped while mmdebstrap built the image ${BUILT_IMAGE}`,
      why: lastLines(tail, 4),
      fix: 'connect to the network (a Debian mirror must be reachable) and repeat the command',
    });
  }
}

async function importImage(docker: string, archive: string): Promise<void> {
  const changes = ['CMD ["bash"]', `LABEL ${LABEL}`].map(
    (change) => `&changes=${encodeURIComponent(change)}`,
  );
  const imported = await dockerRequest(docker, {
    path: `/images/create?fromSrc=-&${nameQuery(BUILT_IMAGE)}${changes.join('')}`,
    method: 'POST',
    timeoutMs: IMPORT_TIMEOUT_MS,
    contentType: 'application/x-tar',
    body: createReadStream(archive),
  });
  if (imported.status !== 200 || imported.body.includes('"error"')) {
    throw new StackError({
      message: `Docker did not take the image ${BUILT_IMAGE}`,
      why: lastLines(imported.body, 2),
      fix: 'see that Docker has 1 GB of free disk space, and repeat the command',
    });
  }
}

async function tag(docker: string, name: string): Promise<void> {
  await dockerRequest(docker, {
    path: `/images/${BUILT_IMAGE}/tag?${nameQuery(name)}`,
    method: 'POST',
    timeoutMs: ASK_TIMEOUT_MS,
  });
}

function nameQuery(image: string): string {
  const [repo = '', tag = ''] = image.split(':');
  return `repo=${encodeURIComponent(repo)}&tag=${tag}`;
}
