import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { takeLock } from '../../stack/lock.ts';
import { identify, isAlive, signal } from '../../stack/process-identity.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'mcli-lock-'));
});
afterEach(async () => await rm(folder, { recursive: true }));

test('a lock has one holder, and goes to the next when it is released', async () => {
  const file = path.join(folder, 'lock');
  const first = await takeLock(file, { waitMs: 0 });
  expect(first).toBeDefined();
  expect(await takeLock(file, { waitMs: 0 })).toBeUndefined();
  const waiting = takeLock(file, { waitMs: 10_000 });
  first?.release();
  (await waiting)?.release();
  expect(await waiting).toBeDefined();
});

test('a lock is free as soon as its holder is killed', async () => {
  const file = path.join(folder, 'lock');
  const module = path.join(import.meta.dirname, '../../stack/lock.ts');
  const script = `
    const { takeLock } = await import(${JSON.stringify(module)});
    await takeLock(${JSON.stringify(file)}, { waitMs: 0 });
    console.log('held');
    setInterval(() => {}, 1000);`;
  const holder = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(holder.stdout, 'data');
  expect(await takeLock(file, { waitMs: 0 })).toBeUndefined();
  holder.kill('SIGKILL');
  await once(holder, 'exit');
  const lock = await takeLock(file, { waitMs: 0 });
  expect(lock).toBeDefined();
  lock?.release();
});

test('a process is known by pid and start time, and its end is seen', async () => {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  const identity = identify(child.pid ?? 0);
  expect(identity).toBeDefined();
  if (identity === undefined) return;
  expect(isAlive(identity)).toBe(true);
  expect(isAlive({ ...identity, started: 'another time' })).toBe(false);
  expect(signal({ ...identity, started: 'another time' }, 'SIGKILL')).toBe(false);
  expect(signal(identity, 'SIGKILL')).toBe(true);
  await once(child, 'exit');
  expect(isAlive(identity)).toBe(false);
});
