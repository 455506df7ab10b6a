import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { containerConfig } from '../../activities/container-config.ts';
import type { RankExecution } from '../../activities/contract.ts';
import { processesOf } from '../../activities/stray-processes.ts';
import { containerName } from '../../core/naming.ts';
import { createGuardNotes } from '../../workers/guard-notes.ts';
import { fencingTimes, leaseWriter, uptimeMs } from '../../workers/node-lease.ts';
import { aRankToRun, containerOf, docker, eventually, SETTINGS } from '../support/docker.ts';
import { aDockerProxy } from '../support/docker-proxy.ts';

const LEASE_MS = 3_000;

let state: string;
let guards: ChildProcess[];

beforeEach(async () => {
  state = await mkdtemp(path.join(tmpdir(), 'mcli-test-guard-'));
  guards = [];
});
afterEach(async () => {
  for (const guard of guards) guard.kill('SIGKILL');
  await rm(state, { recursive: true });
});

/** Other test files run beside this one: a guard must not end their containers. */
const CLUSTER = `test-${randomUUID()}`;

describe('the guard of a node', () => {
  it('ends the containers of its node when the lease is over, also those that ignore SIGTERM', async () => {
    const polite = await aContainer('sleep 600');
    const stubborn = await aContainer("trap '' TERM; while :; do sleep 1; done");
    startGuard(LEASE_MS);
    for (const rank of [polite, stubborn]) {
      await eventually(
        () => containerOf(rank),
        (found) => found?.status === 'exited',
      );
    }
    expect((await containerOf(stubborn))?.exitCode).toBe(137);
    // Whoever tells of the end was not there.
    const notes = createGuardNotes(path.join(state, 'test-node'));
    const { stopAtMs } = fencingTimes(LEASE_MS);
    for (const rank of [polite, stubborn])
      expect(await notes.unheardMs(rank)).toBeGreaterThanOrEqual(stopAtMs);
    await notes.sweep((container) => Promise.resolve(container === containerName(polite)));
    expect(await Promise.all([polite, stubborn].map((rank) => notes.unheardMs(rank)))).toEqual([
      expect.any(Number),
      undefined,
    ]);
    await notes.remove(polite);
    expect(await notes.unheardMs(polite)).toBeUndefined();
  });

  it('ends also one for which Docker does not answer', async () => {
    const resisting = await aContainer('sleep 600');
    const stubborn = await aContainer("trap '' TERM; while :; do sleep 1; done");
    const { id = '' } = (await containerOf(resisting)) ?? {};
    // Docker waits for the process that holds the container, whenever it is to signal it.
    const holder = await parentOf((await processesOf(id))[0]);
    process.kill(holder, 'SIGSTOP');
    try {
      startGuard(LEASE_MS);
      await eventually(
        () => containerOf(stubborn),
        (found) => found?.status === 'exited',
      );
      await eventually(
        () => processesOf(id),
        (processes) => processes.length === 0,
      );
    } finally {
      process.kill(holder, 'SIGCONT');
    }
  });

  it.each(['is away', 'does not answer'])('ends them without Docker when that %s', async (how) => {
    const proxy = await aDockerProxy();
    onTestFinished(() => proxy.dispose());
    const rank = await aContainer('sleep 600');
    const { id = '' } = (await containerOf(rank)) ?? {};
    startGuard(2 * LEASE_MS, { dockerHost: proxy.host });
    await expect.poll(() => proxy.answers(), { timeout: LEASE_MS }).toBeGreaterThan(0);
    if (how === 'is away') await proxy.goAway();
    else proxy.fallSilent();
    await eventually(
      () => processesOf(id),
      (processes) => processes.length === 0,
    );
  });

  it('ends them also when the machine has slept through the lease', async () => {
    const rank = await aContainer('sleep 600');
    startGuard(600_000, { under: ['unshare', '--time', '--boottime', '600'] });
    await eventually(
      () => containerOf(rank),
      (found) => found?.status === 'exited',
    );
  });

  it('leaves alone what a lease covers, and what belongs to another node', async () => {
    const mine = await aContainer('sleep 600');
    const theirs = await aContainer('sleep 600', 'another-node');
    const doomed = await aContainer('sleep 600', 'doomed-node');
    startGuard(600_000);
    startGuard(LEASE_MS, { node: 'doomed-node' });
    await eventually(
      () => containerOf(doomed),
      (found) => found?.status === 'exited',
    );
    for (const rank of [mine, theirs]) expect((await containerOf(rank))?.status).toBe('running');
  });

  it('gives way to a newer one, also when it has been forgotten', async () => {
    const old = startGuard(600_000);
    const ended = once(old, 'exit');
    await untilKnown(old);
    const newer = startGuard(600_000);
    await ended;
    await untilKnown(newer);
    // What a loss of power leaves.
    await writeFile(knownGuard(), '');
    const forgotten = once(newer, 'exit');
    await untilKnown(startGuard(600_000));
    await forgotten;
  });

  it('leaves when the agent keeps its state elsewhere', async () => {
    const guard = startGuard(600_000);
    await untilKnown(guard);
    const ended = once(guard, 'exit');
    await rename(path.join(state, 'test-node'), path.join(state, 'moved'));
    await ended;
  });

  it('has killed before the lease is over, and leaves time to end in good order', () => {
    for (const leaseMs of [15_000, 300_000]) {
      const { stopAtMs, killAtMs } = fencingTimes(leaseMs);
      expect(stopAtMs).toBeLessThan(killAtMs);
      expect(killAtMs).toBeLessThan(leaseMs);
    }
  });
});

const knownGuard = (): string => path.join(state, 'test-node', 'guard.json');

async function untilKnown(guard: ChildProcess): Promise<void> {
  await eventually(
    () => readFile(knownGuard(), 'utf8').catch(() => ''),
    (text) => text.includes(String(guard.pid)),
  );
}

async function parentOf(pid: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^PPid:\s+(\d+)/m.exec(status)?.[1]);
}

interface GuardOptions {
  readonly node?: string;
  readonly dockerHost?: string;
  /** A program that starts the guard in its own way. */
  readonly under?: readonly string[];
}

function startGuard(leaseMs: number, options: GuardOptions = {}): ChildProcess {
  const { node = 'test-node', under = [], ...docker } = options;
  const directory = path.join(state, node);
  const place = { controlPlane: SETTINGS.controlPlane, cluster: CLUSTER, node };
  leaseWriter(directory)({ renewedAt: uptimeMs(), leaseMs, place, ...docker });
  const program = path.resolve(import.meta.dirname, '../../workers/guard.ts');
  const [first, ...rest] = [...under, process.execPath, program, directory];
  const guard = spawn(first, rest, { stdio: 'ignore' });
  guards.push(guard);
  return guard;
}

async function aContainer(command: string, node = 'test-node'): Promise<RankExecution> {
  const rank = aRankToRun(command, {}, { cluster: CLUSTER, node });
  const config = containerConfig(rank, SETTINGS, false);
  await docker.create({ ...config, Cmd: ['bash', '-c', command] });
  await docker.start(containerName(rank));
  return rank;
}
