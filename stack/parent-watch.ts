/**
 * The workers' half of supervision: they bring a killed supervisor back, which then takes them on again. So no single
 * kill takes the local stack down, and nothing that runs is disturbed. Outside a local stack nothing happens.
 */
import { spawn } from 'node:child_process';
import { readConfig, readState } from './config.ts';
import type { StackHome } from './home.ts';
import { stackHome } from './home.ts';
import { withLog } from './log-files.ts';
import { distFile } from './package-root.ts';
import { isAlive } from './process-identity.ts';

/** Set by the supervisor on its children, to the name of the part. */
export const PART_VARIABLE = 'MCLI_STACK_PART';
const CHECK_MS = 1_000;
/** Several workers see the same death: only the first needs to act. */
const JITTER_MS = 1_000;

/** Looks after the supervisor of the local stack, if this process is one of its workers. Never keeps it alive. */
export function watchParent(): void {
  if (process.env[PART_VARIABLE] === undefined) return;
  const home = stackHome();
  const check = (): void => {
    if (needsSupervisor(home)) spawnSupervisor(home);
    setTimeout(check, CHECK_MS + Math.random() * JITTER_MS).unref();
  };
  setTimeout(check, CHECK_MS).unref();
}

/** Tells the supervisor that this worker is at work; commands that start the stack wait for it. */
export function announceReady(): void {
  if (process.env[PART_VARIABLE] !== undefined && process.connected) process.send?.('ready');
}

/** Two at once do no harm: the second finds the lock taken, and leaves. */
export function spawnSupervisor(home: StackHome): void {
  withLog(home, 'supervisor', (log) =>
    spawn(process.execPath, ['--disable-warning=ExperimentalWarning', distFile('supervisor.js')], {
      cwd: home.root,
      env: { ...process.env, MCLI_HOME: home.root, [PART_VARIABLE]: 'supervisor' },
      stdio: ['ignore', log, log],
      detached: true,
    }).unref(),
  );
}

function needsSupervisor(home: StackHome): boolean {
  try {
    if (readConfig(home)?.wanted !== 'up') return false;
    const state = readState(home);
    return state === undefined || !isAlive(state.supervisor);
  } catch {
    // A broken file is for `mcli up` to report; a worker goes on with its work.
    return false;
  }
}
