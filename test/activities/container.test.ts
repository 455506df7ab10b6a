import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Dockerode from 'dockerode';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { NO_ADDITIONS } from '../../activities/container-config.ts';
import type { ContainerExit, ContainerStop, RankExecution } from '../../activities/contract.ts';
import { describeStop, exitFailure, failureClass } from '../../core/failures.ts';
import type { RunFailure } from '../../core/failures.ts';
import type { Docker } from '../../activities/docker.ts';
import { DockerSilent } from '../../activities/docker-requests.ts';
import { containerName, PARAMETERS_PATH } from '../../core/naming.ts';
import {
  anAgent,
  anAttempt,
  aRankToRun,
  containerOf,
  docker,
  eventually,
  shippedLog,
  shutDown,
  stop,
} from '../support/docker.ts';
import { buildFrom, loadImage, removeImages } from '../support/registry.ts';
import { useNats } from '../support/nats.ts';

const nats = useNats();

const agent = (settings = {}, more: Parameters<typeof anAgent>[2] = {}) =>
  anAgent(nats.connection, settings, more);

function execute(rank: RankExecution, settings = {}): Promise<ContainerExit> {
  return anAttempt().run(agent(settings).execute, rank);
}

/** Docker fails over a container that is being made anew, as where it may not raise limits. */
const untilUp = (rank: RankExecution) =>
  eventually(() => docker.fileExists(containerName(rank), '/up').catch(() => false), Boolean);

const untilRunning = (rank: RankExecution) =>
  eventually(
    () => containerOf(rank),
    (state) => state?.status === 'running',
  );

/** As when an agent starts a container and goes. @returns what became of its attempt. */
async function leaveRunning(
  rank: RankExecution,
  until: (rank: RankExecution) => Promise<unknown> = untilRunning,
): Promise<unknown> {
  const attempt = anAttempt();
  const outcome = attempt.run(agent().execute, rank).catch((error: unknown) => error);
  await until(rank);
  shutDown(attempt);
  return await outcome;
}

const isRetried = (failure: RunFailure | undefined) =>
  failure !== undefined && failureClass(failure.type).blame === 'system';

/** Closed in the background: whoever removes the container must not be first. */
const untilClosed = (rank: RankExecution) =>
  eventually(
    () => shippedLog(nats.connection, rank),
    ({ ends }) => ends.length > 0,
  );

async function finish(rank: RankExecution) {
  const stopped: ContainerStop = await anAttempt().run(agent()['remove-container'], rank);
  return { stopped, log: await shippedLog(nats.connection, rank) };
}

describe('the command', () => {
  it('runs to its end, and its log is complete, in order and closed once', async () => {
    const rank = aRankToRun('for i in 1 2 3; do echo out $i; done\nsleep 0.2\necho err >&2');
    const exit = await execute(rank);
    expect(exit).toMatchObject({ exitCode: 0, oomKilled: false });
    expect(Date.parse(exit.finishedAt) - Date.parse(exit.startedAt)).toBeGreaterThan(150);
    await untilClosed(rank);
    const { log, stopped } = await finish(rank);
    expect(stopped).toEqual({ endedBy: 'not-running' });
    expect(log.text).toBe('out 1\nout 2\nout 3\nerr\n');
    expect(log.entries.at(-1)?.stream).toBe('stderr');
    expect(log.ends).toEqual(['exit 0']);
    expect(await containerOf(rank)).toBeUndefined();
  });

  it('ends at the first line that fails, with its exit code and line number', async () => {
    const rank = aRankToRun('true\n(exit 7)\necho not reached');
    expect((await execute(rank)).exitCode).toBe(7);
    const unknown = aRankToRun('true\ntrian model.yaml');
    expect((await execute(unknown)).exitCode).toBe(127);
    const { log } = await finish(unknown);
    expect(log.text).toContain('/mnt/config/command.sh: line 2: trian: command not found');
  });

  it('finds its variables as they were given, whatever they are called', async () => {
    const names = ['end', 'disk', 'again', 'program', 'go', 'code', 'at', 'REPLY', 'python', 'name'];
    const rank = aRankToRun('env | grep =mine-', {
      envVariables: Object.fromEntries(names.map((name) => [name, `mine-${name}`])),
    });
    await execute(rank);
    const lines = (await finish(rank)).log.text.trim().split('\n');
    expect(lines.toSorted()).toEqual(names.map((name) => `${name}=mine-${name}`).toSorted());
  });

  it('finds its files, its parameters and its environment', async () => {
    const rank = aRankToRun(
      'cat $PARAMETERS; for v in RUN_NAME NODE_RANK NUM_NODES WORLD_SIZE LOCAL_WORLD_SIZE RESUMPTION_INDEX ' +
        'MASTER_ADDR MASTER_PORT MOSAICML_PLATFORM NVIDIA_VISIBLE_DEVICES NODE_SAYS WANDB_PROJECT; do ' +
        'echo $v=${!v}; done; python3 -c "import os; print(os.stat(\'/dev/shm\').st_dev > 0)"',
      {
        parametersYaml: 'text: "1e-4"\nlist:\n  - 1\n',
        envVariables: { MOSAICML_PLATFORM: 'False' },
        integrations: [{ type: 'wandb', environment: { WANDB_PROJECT: 'p' } }],
      },
      { resumption: 3 },
    );
    await execute(rank, { containerEnv: { NODE_SAYS: 'hello', MOSAICML_PLATFORM: 'node' } });
    expect((await finish(rank)).log.text.split('\n')).toEqual([
      'text: "1e-4"',
      'list:',
      '  - 1',
      `RUN_NAME=${rank.run}`,
      'NODE_RANK=0',
      'NUM_NODES=1',
      'WORLD_SIZE=0',
      'LOCAL_WORLD_SIZE=0',
      'RESUMPTION_INDEX=3',
      'MASTER_ADDR=127.0.0.1',
      'MASTER_PORT=10001',
      'MOSAICML_PLATFORM=False',
      'NVIDIA_VISIBLE_DEVICES=void',
      'NODE_SAYS=hello',
      'WANDB_PROJECT=p',
      'True',
      '',
    ]);
  });

  it('gets what other modules add: mounts, variables that may be seen, and a file of those that may not', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'mcli-test-additions-'));
    await writeFile(join(folder, 'env.sh'), "export HIDDEN='se cret'\n");
    const asked = new Set<string>();
    const released: string[] = [];
    const activities = agent(
      {},
      {
        additionsFor: async ({ run }) => {
          asked.add(run);
          return {
            mounts: [{ source: folder, target: '/mnt/mcli-secrets', readOnly: true }],
            environment: { ADDED: 'yes', MINE: 'platform' },
          };
        },
        cleanUp: async ({ run }) => void released.push(run),
      },
    );
    const rank = aRankToRun(
      'echo $HIDDEN $ADDED $MINE; touch /mnt/mcli-secrets/x 2>/dev/null || echo read-only',
      {
        envVariables: { MINE: 'user' },
      },
    );
    try {
      await anAttempt().run(activities.execute, rank);
      const { Config: config } = await new Dockerode().getContainer(containerName(rank)).inspect();
      expect(config.Env).toContain('ADDED=yes');
      expect(config.Env.join()).not.toContain('cret');
      await anAttempt().run(activities['remove-container'], rank);
      expect((await shippedLog(nats.connection, rank)).text).toBe('se cret yes user\nread-only\n');
      expect({ asked: [...asked], released }).toEqual({ asked: [rank.run], released: [rank.run] });
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('is told apart from one that the kernel killed for its memory', async () => {
    const rank = aRankToRun('python3 -c "x = bytearray(300 * 1024 * 1024)"');
    const exit = await execute(rank, { memoryBytes: 128 * 1024 ** 2 });
    expect(exit).toMatchObject({ oomKilled: true, exitCode: 137 });
    expect(exitFailure(exit)).toMatchObject({
      type: 'OutOfMemory',
      message: 'The run was killed because it used all of its 128 MB of memory.',
    });
  });
});

describe('an end', () => {
  it.each([
    ['kill -9 $$', 137],
    ['exec python3 -c "import os; os.kill(os.getpid(), 15)"', 143],
    ["trap 'kill 0' EXIT; sleep 30 & exit 0", 143],
    ["trap 'echo bye; exit 4' EXIT; false", 4],
    ['(sleep 0.3; kill -CONT $$) & kill -STOP $$; exit 6', 6],
    ['rm /.mcli-end && mkdir /.mcli-end; exit 8', 8],
    // Docker sends its zeros, too.
    ['truncate -s 1T /.mcli-end; exit 3', 3],
  ])('is the own of the program that does %s', async (command, exitCode) => {
    expect(await execute(aRankToRun(command))).toMatchObject({ exitCode, end: 'itself' });
  });

  it('is seen in an image whose user may write nowhere', async () => {
    const image = 'mcli-test/nobody:1';
    await buildFrom('mcli/starter', image, 'USER nobody');
    try {
      expect(await execute(aRankToRun('exit 9', { image }))).toMatchObject({ exitCode: 9, end: 'itself' });
    } finally {
      await removeImages([image]);
    }
  });

  const SAVES = `trap 'echo saved; exit 0' TERM; touch /up; while :; do sleep 0.05; done`;

  it.each([
    ['is killed', 'sleep 60', (name: string) => docker.kill(name, 'SIGKILL'), /killed \(exit code 137\)/],
    ['is told to stop, and saves', SAVES, (name: string) => docker.kill(name, 'SIGTERM'), /told it to stop/],
  ])('of a container that %s from outside is none of the run', async (_, command, end, words) => {
    const rank = aRankToRun(command);
    // Nobody looks when it happens: who comes later is told, too.
    await leaveRunning(rank, command === SAVES ? untilUp : untilRunning);
    await end(containerName(rank));
    const failure = exitFailure(await execute(rank));
    expect(failure).toMatchObject({ type: 'ContainerStopped', message: expect.stringMatching(words) });
    expect(failure).not.toHaveProperty('exitCode');
    expect(isRetried(failure)).toBe(true);
  });

  it('by the guard of the node is told as such', async () => {
    const rank = aRankToRun('touch /up; sleep 60');
    const activities = agent({}, { unheardMs: () => Promise.resolve(270_000) });
    const outcome: Promise<ContainerExit> = anAttempt().run(activities.execute, rank);
    await untilUp(rank);
    await docker.kill(containerName(rank), 'SIGKILL');
    expect(exitFailure(await outcome)).toMatchObject({
      type: 'ContainerStopped',
      message: expect.stringContaining(
        'ended by its node, which had not reached the control plane for 270 s',
      ),
    });
  });

  it('by removal while no agent lived is told, and nothing is started again', async () => {
    const rank = aRankToRun('echo again');
    const usage = { at: 1, samples: 1 };
    const later = anAttempt({ heartbeatDetails: { rank: 0, usage } });
    const ended = { type: 'ContainerStopped', message: expect.stringContaining('it was removed') };
    expect(await later.run(agent().execute, rank).catch((error: unknown) => error)).toMatchObject(ended);
    const integrations = [{ type: 'pip_packages', packages: ['pip'], upgrade: false } as const];
    const prepared = aRankToRun('echo unprepared', { integrations });
    expect(await execute(prepared).catch((error: unknown) => error)).toMatchObject(ended);
    expect([await containerOf(rank), await containerOf(prepared)]).toEqual([undefined, undefined]);
  });

  it('by removal from outside is told at once', async () => {
    const rank = aRankToRun('sleep 60');
    const outcome = execute(rank).catch((error: unknown) => error);
    await untilRunning(rank);
    await docker.remove(containerName(rank));
    expect(await outcome).toMatchObject({
      type: 'ContainerStopped',
      message: 'The container was ended from outside: it was removed, as by `docker rm`.',
    });
  });
});

describe('a Docker that does not answer', () => {
  const silence = () => Promise.reject(new DockerSilent('The daemon did not answer within 60 s.'));

  /** A run on a daemon that keeps no containers while it is away, but is not away. */
  async function stalled(command: string, inspect: Docker['inspect']) {
    const rank = aRankToRun(command);
    let isSilent = false;
    const stalling: Docker = {
      ...docker,
      keepsContainers: () => Promise.resolve(false),
      waitForExit: (name, signal) => (isSilent ? silence() : docker.waitForExit(name, signal)),
      inspect: (name) => (isSilent ? inspect(name) : docker.inspect(name)),
    };
    const outcome = anAttempt().run(agent({}, { docker: stalling }).execute, rank);
    await untilUp(rank);
    isSilent = true;
    return outcome;
  }

  it('is none of its runs, however long an answer takes', async () => {
    let stalls = 1;
    const outcome = stalled('touch /up; sleep 3; exit 5', async (name) => {
      if (stalls-- <= 0) return docker.inspect(name);
      await sleep(6_000);
      return silence();
    });
    expect(await outcome).toMatchObject({ exitCode: 5, end: 'itself' });
  });

  it('is named in the end, and nothing is said of its containers', async () => {
    const now = performance.now.bind(performance);
    let lateMs = 0;
    vi.spyOn(performance, 'now').mockImplementation(() => now() + lateMs);
    onTestFinished(() => void vi.restoreAllMocks());
    const outcome = stalled('touch /up; sleep 60', () => {
      lateMs += 10 * 60_000;
      return silence();
    });
    await expect(outcome).rejects.toMatchObject({
      type: 'DockerError',
      message: 'Docker on test-node has not answered for 15 min: nobody knows how the container is.',
    });
  });
});

describe('the limits', () => {
  it('end what starts processes without end, or fills /dev/shm, and hold the machine harmless', async () => {
    const python = `
import os, subprocess
made = 0
try:
    while True:
        subprocess.Popen(['sleep', '60']); made += 1
except BlockingIOError:
    print('processes', 40 < made < 64)
shm = os.statvfs('/dev/shm')
print('shm', shm.f_blocks * shm.f_frsize // 2**20)
try:
    open('/dev/shm/x', 'wb').write(bytes(70 * 2**20))
except OSError as e:
    print(e.strerror)`;
    const rank = aRankToRun('exec python3 -c "$CODE"', { envVariables: { CODE: python } });
    const exit = await execute(rank, { maxPids: 64, memoryBytes: 128 * 1024 ** 2 });
    expect(exit).toMatchObject({ exitCode: 0, end: 'itself' });
    expect((await finish(rank)).log.text).toBe('processes True\nshm 64\nNo space left on device\n');
  });

  it('give nothing of the machine away', async () => {
    const rank = aRankToRun(
      `ls /var/run/docker.sock /dev/kmsg /dev/[sv]d* 2>/dev/null || true
grep CapEff /proc/self/status
mount -t tmpfs none /tmp 2>/dev/null && echo mounted || true
echo 1 2>/dev/null > /proc/sys/kernel/pid_max && echo set || true`,
    );
    await execute(rank);
    expect((await finish(rank)).log.text).toMatch(
      /^CapEff:\s00000000a80425fb\n(.*Read-only file system\n)?$/,
    );
  });
});

describe('an image', () => {
  it('with a file where a secret belongs speaks against the secret, and not against the node', async () => {
    const source = await mkdtemp(join(tmpdir(), 'mcli-test-mount-'));
    onTestFinished(() => rm(source, { recursive: true }));
    const mounts = [{ source, target: '/etc/passwd', readOnly: true }];
    const additionsFor = async () => ({ ...NO_ADDITIONS, mounts });
    await expect(
      anAttempt().run(agent({}, { additionsFor }).execute, aRankToRun('true')),
    ).rejects.toMatchObject({
      type: 'SecretUnreadable',
      message: expect.stringContaining('A secret cannot be mounted at /etc/passwd') as string,
    });
  });

  it('without bash is told apart from a command that bash does not know', async () => {
    const image = 'mcli-test/without-bash:1';
    await loadImage(image, 10);
    try {
      const outcome = execute(aRankToRun('true', { image })).catch((error: unknown) => error);
      expect(await outcome).toMatchObject({
        type: 'ImageWithoutBash',
        message: 'Image mcli-test/without-bash:1 has no bash, which runs the command.',
      });
    } finally {
      await removeImages([image]);
    }
  });
});

describe('a stop', () => {
  const PYTHON = `import signal, sys, time
def saved(*_):
    time.sleep(0.5); print('saved', flush=True); sys.exit(0)
signal.signal(signal.SIGTERM, saved); print('up', flush=True)
while True: time.sleep(0.1)`;

  it.each([
    ['in the foreground', 'python3 -c "$CODE"\necho not reached'],
    ['in the background', 'python3 -c "$CODE" &\nwait'],
    ['in place of the shell', 'exec python3 -c "$CODE"'],
  ])('reaches a program %s, which has time to save', async (_, command) => {
    const rank = aRankToRun(command, { envVariables: { CODE: PYTHON } });
    const attempt = anAttempt();
    const running = attempt.run(agent().execute, rank);
    const outcome = running.catch((error: unknown) => error);
    await eventually(
      () => shippedLog(nats.connection, rank).catch(() => undefined),
      (log) => log?.text === 'up\n',
    );
    stop(attempt);
    expect(await outcome).toMatchObject({ name: 'CancelledFailure', details: [{ endedBy: 'SIGTERM' }] });
    expect((await containerOf(rank))?.status).toBe('exited');
    expect((await finish(rank)).log).toMatchObject({ text: 'up\nsaved\n', ends: ['removed'] });
  });

  it.each([0, 100, 200, 300, 400])('ends a container %d ms after its start was ordered', async (laterMs) => {
    const rank = aRankToRun('sleep 60');
    const activities = agent();
    const attempt = anAttempt();
    const outcome = attempt.run(activities.execute, rank).catch((error: unknown) => error);
    await sleep(laterMs);
    const stopped: ContainerStop = await anAttempt().run(activities['stop-container'], rank);
    expect(stopped.afterMs ?? 0).toBeLessThan(1_000);
    stop(attempt);
    await outcome;
    expect((await containerOf(rank))?.status).not.toBe('running');
  });

  it('that comes before the start leaves nothing to be stopped', async () => {
    const rank = aRankToRun('echo never');
    const activities = agent();
    expect(await anAttempt().run(activities['stop-container'], rank)).toEqual({ endedBy: 'not-running' });
    const attempt = anAttempt();
    const outcome = attempt.run(activities.execute, rank).catch((error: unknown) => error);
    setTimeout(() => stop(attempt), 300);
    expect(await outcome).toMatchObject({ name: 'CancelledFailure', details: [{ endedBy: 'not-running' }] });
    expect((await containerOf(rank))?.startedAt ?? '0001').toMatch(/^0001/);
  });

  it('may come twice, and reaches the program once', async () => {
    const rank = aRankToRun(
      "n=0; trap 'echo told' TERM; touch /up; while [ $((n++)) -lt 40 ]; do sleep 0.05 || true; done",
    );
    const activities = agent();
    const outcome = anAttempt().run(activities.execute, rank);
    await untilUp(rank);
    const order = (): Promise<ContainerStop> => anAttempt().run(activities['stop-container'], rank);
    const stops = await Promise.all([order(), order()]);
    for (const { endedBy, afterMs = 0 } of stops) {
      expect(endedBy).toBe('SIGTERM');
      expect(afterMs).toBeGreaterThan(500);
      expect(describeStop({ endedBy, afterMs }, 30_000)).toMatch(
        /^It ended by itself on SIGTERM after \d\.?\d* s\.$/,
      );
    }
    expect(await outcome).toMatchObject({ exitCode: 0, end: 'told' });
    expect((await finish(rank)).log.text.match(/told/g)).toHaveLength(1);
  });

  it('wakes a container that somebody has paused', async () => {
    const rank = aRankToRun('sleep 60');
    const activities = agent();
    const outcome = anAttempt().run(activities.execute, rank);
    await untilRunning(rank);
    await promisify(execFile)('docker', ['pause', containerName(rank)]);
    const stopped: ContainerStop = await anAttempt().run(activities['stop-container'], rank);
    expect(stopped.endedBy).toBe('SIGTERM');
    await outcome;
  });

  it('gives the program its grace from when it was told, however long Docker takes to tell it', async () => {
    const rank = aRankToRun(
      "trap 'sleep 0.5; exit 0' TERM; touch /up; while :; do sleep 0.05; done",
      {},
      { graceMs: 2_000 },
    );
    const slow: Partial<Docker> = {
      async kill(name, signal) {
        if (signal === 'SIGTERM') await sleep(3_000);
        await docker.kill(name, signal);
      },
    };
    const activities = agent({}, { docker: { ...docker, ...slow } });
    const outcome = anAttempt().run(activities.execute, rank);
    await untilUp(rank);
    const stopped: ContainerStop = await anAttempt().run(activities['stop-container'], rank);
    expect(stopped.endedBy).toBe('SIGTERM');
    expect(await outcome).toMatchObject({ exitCode: 0, end: 'told' });
  });

  it('kills what ignores it when the grace time is over', async () => {
    const rank = aRankToRun("trap '' TERM\necho up\nsleep 60", {}, { graceMs: 700 });
    const attempt = anAttempt();
    const outcome = attempt.run(agent().execute, rank).catch((error: unknown) => error);
    await eventually(
      () => shippedLog(nats.connection, rank).catch(() => undefined),
      (log) => log?.text === 'up\n',
    );
    stop(attempt);
    expect(await outcome).toMatchObject({ details: [{ endedBy: 'SIGKILL' }] });
    expect((await containerOf(rank))?.exitCode).toBe(137);
  });

  it('by removal may come twice at a time', async () => {
    const rank = aRankToRun('sleep 60');
    await leaveRunning(rank);
    await Promise.all([1, 2, 3].map(() => docker.remove(containerName(rank))));
    expect(await containerOf(rank)).toBeUndefined();
  });

  it('by removal stops a container that no activity holds', async () => {
    const rank = aRankToRun('echo up; sleep 60 & wait');
    await leaveRunning(rank);
    const { stopped, log } = await finish(rank);
    expect(stopped.endedBy).toBe('SIGTERM');
    expect(log.ends).toEqual(['removed']);
    // Once more: nothing is there, and nothing is added.
    const again = await finish(rank);
    expect(again.stopped.endedBy).toBe('not-running');
    expect(again.log.ends).toEqual(['removed']);
  });
});

describe('an agent that is taken away', () => {
  it('leaves the container alone; the next attempt attaches and reports its exit', async () => {
    const rank = aRankToRun('echo started; sleep 1.5; echo done; exit 3');
    expect(await leaveRunning(rank)).toMatchObject({ type: 'AgentDetached', nonRetryable: false });
    expect((await containerOf(rank))?.status).toBe('running');
    expect((await execute(rank)).exitCode).toBe(3);
    await untilClosed(rank);
    expect((await finish(rank)).log).toMatchObject({ text: 'started\ndone\n', ends: ['exit 3'] });
  });

  it('is told the exit of a command that ended meanwhile, which is not started again', async () => {
    const rank = aRankToRun('echo once; exit 4');
    expect((await execute(rank)).exitCode).toBe(4);
    const before = await containerOf(rank);
    expect((await execute(rank)).exitCode).toBe(4);
    expect((await containerOf(rank))?.startedAt).toBe(before?.startedAt);
    await untilClosed(rank);
    expect((await finish(rank)).log).toMatchObject({ text: 'once\n', ends: ['exit 4'] });
  });
});

describe('two attempts at a time', () => {
  it('of one agent make and start the container once', async () => {
    const rank = aRankToRun('echo once');
    const isPrepared = Promise.withResolvers<void>();
    let preparing = 0;
    let most = 0;
    const activities = agent(
      {},
      {
        async additionsFor() {
          preparing += 1;
          most = Math.max(most, preparing);
          await isPrepared.promise;
          preparing -= 1;
          return NO_ADDITIONS;
        },
      },
    );
    const attempts = [1, 2].map(() => anAttempt().run(activities.execute, rank));
    await sleep(500);
    isPrepared.resolve();
    for (const attempt of attempts) expect(await attempt).toMatchObject({ exitCode: 0 });
    expect(most).toBe(1);
    expect((await finish(rank)).log.text).toBe('once\n');
  });

  it('of two agents start the command once', async () => {
    const rank = aRankToRun('echo once');
    const mayStart = Promise.withResolvers<void>();
    const isAsked = Promise.withResolvers<void>();
    const slow = agent(
      {},
      {
        mayStart() {
          isAsked.resolve();
          return mayStart.promise;
        },
      },
    );
    const outcome = anAttempt().run(slow.execute, rank);
    await isAsked.promise;
    expect((await execute(rank)).exitCode).toBe(0);
    mayStart.resolve();
    expect(await outcome).toMatchObject({ exitCode: 0 });
    expect((await finish(rank)).log.text).toBe('once\n');
  });
});

describe('a start', () => {
  it('waits for Docker that is still making the container, for an agent that is gone', async () => {
    const rank = aRankToRun('true');
    let hidden = 3;
    const slow: Partial<Docker> = {
      create: (config) => (hidden-- > 0 ? Promise.resolve(false) : docker.create(config)),
    };
    const outcome = anAttempt().run(agent({}, { docker: { ...docker, ...slow } }).execute, rank);
    expect(await outcome).toMatchObject({ exitCode: 0 });
  });

  it('for which the agent has no space is not the fault of the run', async () => {
    const additionsFor = async () => {
      await writeFile('/dev/full', 'x');
      return NO_ADDITIONS;
    };
    await expect(
      anAttempt().run(agent({}, { additionsFor }).execute, aRankToRun('true')),
    ).rejects.toMatchObject({
      type: 'NodeDiskFull',
      message: expect.stringMatching(
        /^The container could not start, because the disk of the node is full: ENOSPC/,
      ),
    });
  });
});

describe('integrations', () => {
  it('that fail name themselves, and what they wanted', async () => {
    const rank = aRankToRun('echo not reached', {
      integrations: [
        { type: 'wandb', environment: {} },
        { type: 'pip_packages', packages: ['pip'], upgrade: false },
        { type: 'pip_packages', packages: ['/nowhere/x>=2', 'y'], upgrade: false },
      ],
    });
    const outcome = anAttempt()
      .run(agent().integrations, rank)
      .catch((error: unknown) => error);
    expect(await outcome).toMatchObject({
      type: 'IntegrationFailed',
      message: 'Integration 3 (pip_packages) failed: Failed to pip install packages: /nowhere/x>=2 y',
      nonRetryable: true,
      details: [{ type: 'IntegrationFailed', rank: 0, node: 'test-node' }],
    });
    const { log } = await finish(rank);
    expect(log.text).toContain('[mcli] integration 2/3 (pip_packages): pip install pip\n');
    expect(log.text).toMatch(/\[mcli\] integration 2\/3 \(pip_packages\): done in \d+ s\n/);
    expect(log.text).toContain("[mcli] integration 3/3 (pip_packages): pip install '/nowhere/x>=2' y\n");
    expect(log.ends).toEqual(['removed']);
  });

  it('share files and log with the command, and neither is done twice', async () => {
    const rank = aRankToRun('cat work/hello', {
      integrations: [
        {
          type: 'git_repo',
          gitRepo: 'file:///tmp/repo',
          path: 'work',
          sshClone: true,
          host: 'github.com',
          recursive: false,
        },
      ],
      // Bash reads this file before its script: here it makes the repository that the integration clones.
      envVariables: { BASH_ENV: PARAMETERS_PATH },
      parametersYaml:
        'if [ ! -d /tmp/repo ]; then git init -q /tmp/repo && cd /tmp/repo && echo hi > hello && ' +
        'git add . && git -c user.name=t -c user.email=t@t commit -qm t && cd /; fi\n',
    });
    await anAttempt().run(agent().integrations, rank);
    const prepared = await containerOf(rank);
    await anAttempt().run(agent().integrations, rank);
    expect((await containerOf(rank))?.startedAt).toBe(prepared?.startedAt);
    expect((await execute(rank)).exitCode).toBe(0);
    expect((await execute(rank)).exitCode).toBe(0);
    const { log } = await finish(rank);
    expect(log.text.match(/integration 1\/1 \(git_repo\): git clone/g)).toHaveLength(1);
    expect(log.text).toMatch(/done in \d+ s\nhi\n$/);
    expect(log.ends).toEqual(['exit 0']);
  });

  it('can be stopped', async () => {
    const rank = aRankToRun('echo not reached', {
      integrations: [{ type: 'pip_packages', packages: ['/nowhere'], upgrade: false }],
      envVariables: { BASH_ENV: PARAMETERS_PATH },
      parametersYaml: 'echo slow; sleep 60\n',
    });
    const attempt = anAttempt();
    const outcome = attempt.run(agent().integrations, rank).catch((error: unknown) => error);
    await untilRunning(rank);
    stop(attempt);
    expect(await outcome).toMatchObject({ name: 'CancelledFailure', details: [{ endedBy: 'SIGTERM' }] });
  });
});
