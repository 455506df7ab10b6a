import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readConfig, readState } from '../../stack/config.ts';
import { stackHome } from '../../stack/home.ts';
import { isAlive } from '../../stack/process-identity.ts';
import type { StackStatus } from '../../stack/status.ts';

const MCLI = path.join(import.meta.dirname, '../../dist/mcli.js');
/** What the product promises after a SIGKILL. */
const BACK_WITHIN_MS = 10_000;
/** The tests share the machine with others: a start may take longer than on one that is idle. */
const START_MS = 120_000;
/** As /proc/net/tcp writes them. */
const LISTEN = '0A';
const LOOPBACK = '0100007F:';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'mcli-stack-'));
  const up = mcli('up', '--gpus', '8', '--gpu-type', 'a100_80gb');
  expect(up.stderr + up.stdout).toMatch(/The local stack is up. Web UI: http:\/\/127\.0\.0\.1:\d+/);
}, START_MS);
afterAll(async () => {
  mcli('down');
  await rm(folder, { recursive: true, force: true });
}, 60_000);

describe('the local stack', () => {
  test('shows every part healthy, with address, pid and uptime, on loopback only', () => {
    const { parts, historyDays, cluster, healthy } = status();
    expect(parts.map(({ name, health }) => `${name} ${health}`)).toEqual([
      'supervisor healthy',
      'temporal healthy',
      'nats healthy',
      'control-worker healthy',
      'cluster-worker healthy',
      'agent-node-0 healthy',
      'docker healthy',
    ]);
    expect(parts.filter(({ pid }) => pid === null).map(({ name }) => name)).toEqual(['docker']);
    expect({ historyDays, cluster, healthy }).toEqual({ historyDays: 14, cluster: 'r1z1', healthy: true });
    for (const { pid } of parts) if (pid !== null) expect(listeners(pid)).toEqual([]);
  });

  test('is left alone by a second up', () => {
    const before = pids();
    expect(mcli('up').code).toBe(0);
    expect(pids()).toEqual(before);
  });

  test.each(
    [
      ['temporal'],
      ['nats'],
      ['control-worker'],
      ['cluster-worker'],
      ['agent-node-0'],
      ['supervisor'],
      ['supervisor', 'temporal', 'agent-node-0'],
    ].map((names) => ({ names })),
  )('brings back what SIGKILL took, and nothing else: $names', async ({ names }) => {
    const before = pids();
    for (const name of names) process.kill(before[name] ?? 0, 'SIGKILL');
    await waitFor(() => {
      const now = pids();
      return readState(home())?.ready === true && names.every((name) => now[name] !== before[name]);
    }, BACK_WITHIN_MS);
    const now = pids();
    for (const [name, pid] of Object.entries(before)) {
      if (!names.includes(name)) expect(`${name} ${now[name]}`).toBe(`${name} ${pid}`);
    }
  });

  test('restarts only the parts that a changed setting concerns', async () => {
    const before = pids();
    expect(mcli('up', '--nodes', '2').code).toBe(0);
    const added = pids();
    expect(Object.keys(added)).toContain('agent-node-1');
    expect(mcli('up', '--nodes', '1').code).toBe(0);
    const after = pids();
    expect(Object.keys(after)).toEqual(Object.keys(before));
    for (const name of ['temporal', 'nats', 'control-worker', 'cluster-worker', 'agent-node-0']) {
      expect(`${name} ${after[name]}`).toBe(`${name} ${before[name]}`);
    }
  });

  test('goes down, says so, and comes up with the settings it had', () => {
    const before = Object.values(pids());
    expect(mcli('down').stdout).toMatch(/is down \(5 processes ended\)/);
    expect(before.filter((pid) => pid !== undefined && existsSync(`/proc/${pid}/cwd`))).toEqual([]);
    expect(mcli('status')).toMatchObject({ code: 1, stdout: expect.stringContaining('is down') as string });
    expect(mcli('up').code).toBe(0);
    expect(readConfig(home())?.settings).toMatchObject({ gpus: 8, gpuType: 'a100_80gb', nodes: 1 });
  });

  test('moves to other ports when a program has taken one of its own meanwhile', async () => {
    mcli('down');
    const before = readConfig(home())?.ports;
    const thief = net.createServer().listen(before?.nats, '127.0.0.1');
    await once(thief, 'listening');
    const up = mcli('up');
    thief.close();
    expect(up).toMatchObject({ code: 0 });
    expect(readConfig(home())?.ports.nats).not.toBe(before?.nats);
    expect(status()).toMatchObject({ healthy: true });
  });

  test('is started once by two commands at once', async () => {
    mcli('down');
    const outputs = await Promise.all([mcliAsync('up'), mcliAsync('up'), mcliAsync('get', 'runs')]);
    expect(outputs.map(({ code, stderr }) => (code === 0 ? 'ok' : stderr))).toEqual(['ok', 'ok', 'ok']);
    expect(outputs.filter(({ stderr }) => stderr.includes('Starting the local stack'))).toHaveLength(1);
    expect(status()).toMatchObject({ healthy: true });
  });

  test('ends by itself when its home is removed', async () => {
    const processes = Object.values(readState(home())?.parts ?? {}).flatMap(({ process }) => process ?? []);
    expect(processes).toHaveLength(5);
    await rm(folder, { recursive: true });
    await waitFor(() => processes.every((process) => !isAlive(process)), 30_000);
  });
});

const home = () => stackHome({ MCLI_HOME: folder });

function mcli(...args: string[]): { code: number | null; stdout: string; stderr: string } {
  const env = { ...process.env, MCLI_HOME: folder };
  const { status, stdout, stderr } = spawnSync(process.execPath, [MCLI, ...args], { env, encoding: 'utf8' });
  return { code: status, stdout, stderr };
}

async function mcliAsync(...args: string[]): Promise<{ code: number | null; stderr: string }> {
  const child = spawn(process.execPath, [MCLI, ...args], {
    env: { ...process.env, MCLI_HOME: folder },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')]);
  return { code: code as number | null, stderr };
}

function status(): StackStatus {
  return JSON.parse(mcli('status', '-o', 'json').stdout) as StackStatus;
}

function pids(): Record<string, number | undefined> {
  const state = readState(home());
  const parts = Object.entries(state?.parts ?? {}).map(([name, { process }]) => [name, process?.pid]);
  return { supervisor: state?.supervisor.pid, ...(Object.fromEntries(parts) as Record<string, number>) };
}

/** Addresses, other than 127.0.0.1, on which a process listens, as the kernel writes them: hexadecimal. */
function listeners(pid: number): string[] {
  const sockets = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
      } catch {
        return [];
      }
    }),
  );
  return ['/proc/net/tcp', '/proc/net/tcp6']
    .flatMap((file) => readFileSync(file, 'utf8').trim().split('\n').slice(1))
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state, , , , , , inode]) => state === LISTEN && sockets.has(inode ?? ''))
    .flatMap(([, address = '']) => (address.startsWith(LOOPBACK) ? [] : address));
}

async function waitFor(condition: () => boolean, withinMs: number): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms: ${JSON.stringify(pids())}`);
    await sleep(50);
  }
}
