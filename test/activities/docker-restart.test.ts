import { execFile } from 'node:child_process';
import { open, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createContainerActivities } from '../../activities/container.ts';
import { containerConfig, NO_ADDITIONS } from '../../activities/container-config.ts';
import type { ContainerExit, NodeActivities, RankExecution } from '../../activities/contract.ts';
import { containerName } from '../../core/naming.ts';
import { exitFailure } from '../../core/failures.ts';
import type { RunFailure } from '../../core/failures.ts';
import { identify } from '../../stack/process-identity.ts';
import { aDockerDaemon, importBash } from '../support/docker-daemon.ts';
import type { TestDockerDaemon } from '../support/docker-daemon.ts';
import { anAttempt, aRank, eventually, SETTINGS } from '../support/docker.ts';

const run = promisify(execFile);
const settings = { ...SETTINGS, containerNetwork: 'none' };

interface Execution {
  readonly name: string;
  readonly outcome: Promise<ContainerExit | RunFailure | undefined>;
}

let daemon: TestDockerDaemon;
const names: string[] = [];

beforeAll(async () => {
  daemon = await aDockerDaemon(64);
  await daemon.start({ liveRestore: false });
  await importBash('mcli/starter', daemon);
});
afterEach(async () => {
  await daemon.start({ liveRestore: false });
  await Promise.all(names.splice(0).map((name) => daemon.docker.remove(name)));
});
afterAll(() => daemon.dispose());

const activities = () =>
  createContainerActivities({
    docker: daemon.docker,
    logs: { follow: () => undefined, close: () => Promise.resolve() },
    settings,
  });

/** A run on the daemon, of which only its end is of interest. */
function execute(command: string, rank = aRank(command)): Execution {
  const name = containerName(rank);
  names.push(name);
  const outcome = anAttempt()
    .run<[RankExecution], ContainerExit, NodeActivities['execute']>(activities().execute, rank)
    .then(
      (exit) => exitFailure(exit) ?? exit,
      (error: { details: [RunFailure] }) => error.details[0],
    );
  return { name, outcome };
}

/**
 * What a daemon leaves that dies before it has noted a start: a program in containerd that Docker has forgotten.
 * @returns its process
 */
async function startBehindDocker(id: string): Promise<number> {
  const rootfs = path.join(daemon.dataRoot, 'forgotten');
  const pidFile = `${rootfs}.pid`;
  const script = `sleep="$(type -P sleep)" && mkdir "${rootfs}" &&
cp --parents --dereference "$sleep" $(ldd "$sleep" | grep -o '/[^ ]*') "${rootfs}" &&
ctr --address "${daemon.containerd}" --namespace moby run --detach --pid-file "${pidFile}" \
  --cgroup "/docker/${id}" --rootfs "${rootfs}" "${id}" "$sleep" 600 >&- 2>&-`;
  await run('bash', ['-c', script]);
  return Number(await readFile(pidFile, 'utf8'));
}

const untilUp = (name: string) => eventually(() => daemon.docker.fileExists(name, '/up'), Boolean);

const SAVES = `trap 'echo saved; exit 0' TERM; : > /up; while :; do sleep 0.05; done`;

describe('a restart of Docker', () => {
  it.each(['SIGTERM', 'SIGKILL'] as const)(
    'by %s that ends the containers is none of the runs, and seen at once',
    async (signal) => {
      await daemon.start({ liveRestore: false });
      const runs = [execute(SAVES), execute(': > /up; sleep 60')];
      await Promise.all(runs.map(({ name }) => untilUp(name)));
      await daemon.end(signal);
      await daemon.start({ liveRestore: false });
      const back = Date.now();
      for (const { outcome } of runs) expect(await outcome).toMatchObject({ type: 'ContainerStopped' });
      expect(Date.now() - back).toBeLessThan(3_000);
    },
  );

  it('that keeps the containers is survived', async () => {
    await daemon.start({ liveRestore: true });
    const { name, outcome } = execute(': > /up; sleep 1.5; exit 5');
    await untilUp(name);
    await daemon.end('SIGKILL');
    await daemon.start({ liveRestore: true });
    expect(await outcome).toMatchObject({ type: 'NonZeroExit', exitCode: 5 });
  });

  it('that does not come ends the runs of a daemon that keeps no containers', async () => {
    await daemon.start({ liveRestore: false });
    const { name, outcome } = execute(': > /up; sleep 60');
    await untilUp(name);
    await daemon.end('SIGKILL');
    expect(await outcome).toMatchObject({
      type: 'ContainerStopped',
      message: expect.stringMatching(/the Docker daemon of test-node went away, .*live-restore/),
    });
  });

  it('in the middle of a start leaves no program that it has forgotten', async () => {
    await daemon.start({ liveRestore: true });
    const rank = aRank('sleep 600');
    await daemon.docker.create(containerConfig(rank, settings, false, NO_ADDITIONS));
    const { id = '' } = (await daemon.docker.inspect(containerName(rank))) ?? {};
    await daemon.end('SIGKILL');
    const forgotten = await startBehindDocker(id);
    await daemon.start({ liveRestore: true });
    expect(await execute('', rank).outcome).toMatchObject({ type: 'DockerError' });
    expect(identify(forgotten)).toBeDefined();
    await anAttempt().run(activities()['remove-container'], rank);
    expect(identify(forgotten)).toBeUndefined();
  });
});

describe('a full disk', () => {
  it('is named with the exit code of the command that met it', async () => {
    await daemon.start({ liveRestore: false });
    const { outcome } = execute('dd if=/dev/zero of=/big bs=1M 2>/dev/null');
    expect(await outcome).toEqual({
      type: 'DiskFull',
      message: 'The command ended with exit code 1, and the disk of the node was full.',
    });
  });

  it('keeps containers from starting, for which the run is not to blame', async () => {
    await daemon.start({ liveRestore: false });
    const ballast = path.join(daemon.dataRoot, 'ballast');
    await fill(ballast);
    try {
      expect(await execute('true').outcome).toMatchObject({
        type: 'NodeDiskFull',
        message: expect.stringMatching(
          /^The container could not start, because the disk of the node is full: /,
        ),
      });
    } finally {
      await rm(ballast);
    }
  });
});

async function fill(file: string): Promise<void> {
  const handle = await open(file, 'w');
  for (const bytes of [2 ** 20, 2 ** 12]) {
    for (;;) {
      const written = await handle.write(Buffer.alloc(bytes)).catch(() => undefined);
      if (written === undefined || written.bytesWritten < bytes) break;
    }
  }
  await handle.close();
}
