/**
 * The supervisor of the local stack: one detached process per home that starts the parts, and starts again what dies.
 * It may die itself at any time: the parts live on, a worker starts the next supervisor (parent-watch.ts), and that one
 * takes them on by pid and start time. So replacing it, after `mcli up` or a new build, is just ending it.
 */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PartState, StackConfig, StackState } from './config.ts';
import { readConfig, readState, settingsKey, writeConfig, writeState } from './config.ts';
import type { StackHome } from './home.ts';
import { stackHome } from './home.ts';
import { takeLock } from './lock.ts';
import { logFile, rotateLogs, withLog } from './log-files.ts';
import { buildId } from './package-root.ts';
import { inheritedEnv } from './part-environment.ts';
import type { Part } from './parts.ts';
import { natsConfigText, stackParts } from './parts.ts';
import { choosePorts, isFree } from './ports.ts';
import type { ProcessIdentity } from './process-identity.ts';
import { identify, isAlive } from './process-identity.ts';
import { askNats, prepareNamespace } from './servers.ts';
import { stopProcesses } from './stop-processes.ts';

const TICK_MS = 200;
const ROTATE_MS = 10_000;
/** A predecessor that was told to leave needs a moment. */
const LOCK_WAIT_MS = 2_000;
/** A part that has lived so long did start: the next restart is immediate again. */
const STEADY_MS = 30_000;
const FIRST_BACKOFF_MS = 250;
/** Keeps the promise that whatever was killed is back within 10 s. */
const MAX_BACKOFF_MS = 5_000;
/** A worker that was taken on may have reported to the supervisor before: after this it counts as ready. */
const ASSUMED_READY_MS = 10_000;

/** One part at run time. */
interface Runner {
  part: Part;
  process: ProcessIdentity | undefined;
  startedAt: number;
  fingerprint: string;
  ready: boolean;
  restarts: number;
  /** Deaths in a row, none of which came after a steady life. */
  failures: number;
  notBefore: number;
  problem: string | undefined;
}

const home = stackHome();
const lock = await takeLock(home.supervisorLock, { waitMs: LOCK_WAIT_MS });
if (lock === undefined) process.exit(0);
const config = readConfig(home);
if (config?.wanted === 'up') await supervise(home, config);

async function supervise(home: StackHome, initial: StackConfig): Promise<void> {
  let config = initial;
  const leave = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(name, () => leave.abort());
  const startedAt = new Date().toISOString();
  const build = buildId();
  const self = identify(process.pid) as ProcessIdentity;
  report(`supervisor ${process.pid} at work`);

  const known = readState(home)?.parts ?? {};
  let runners = stackParts(home, config).map((part) => adopt(part, known[part.name]));
  await stopStrangers(runners, known);
  let written = '';
  let rotatedAt = 0;
  const publish = (): void => {
    const state: StackState = {
      supervisor: self,
      startedAt,
      build,
      settings: settingsKey(config),
      ready: runners.every((runner) => runner.ready),
      parts: Object.fromEntries(runners.map((runner) => [runner.part.name, stateOf(runner)])),
    };
    const text = JSON.stringify(state);
    if (text !== written) writeState(home, state);
    written = text;
  };
  publish();

  while (!leave.signal.aborted) {
    const wish = readConfig(home);
    if (wish === undefined) return await stopAfterRemoval(runners);
    if (wish.wanted === 'down') break;
    // Whatever goes wrong with one round, most likely with a disk that is full, the next one tries again.
    try {
      for (const runner of runners) {
        noticeDeath(runner);
        if (runner.process !== undefined) {
          if (!runner.ready) await checkReady(config, runner);
          continue;
        }
        if (!mayStart(runner, runners)) continue;
        const moved = await moveTakenPorts(home, config, runner);
        if (moved !== undefined) {
          config = moved;
          runners = await replaceParts(runners, stackParts(home, config));
          break;
        }
        start(home, config, runner);
        // Before anything else: a process that nobody knows of could not be taken on.
        publish();
      }
      publish();
      if (Date.now() - rotatedAt > ROTATE_MS) {
        rotateLogs(home);
        rotatedAt = Date.now();
      }
    } catch (error) {
      report(String(error));
    }
    await sleep(TICK_MS, undefined, { signal: leave.signal }).catch(() => undefined);
  }
  report(`supervisor ${process.pid} leaves; the parts stay`);
  process.exit(0);
}

function adopt(part: Part, known: PartState | undefined): Runner {
  const alive = known?.process !== undefined && isAlive(known.process);
  return {
    part,
    process: alive ? known.process : undefined,
    startedAt: alive ? Date.parse(known.startedAt ?? '') : 0,
    fingerprint: alive ? (known.fingerprint ?? '') : part.fingerprint,
    ready: alive && known.ready,
    restarts: (known?.restarts ?? 0) + (known?.process !== undefined && !alive ? 1 : 0),
    failures: 0,
    notBefore: 0,
    problem: undefined,
  };
}

/** Ends what runs with an old command, environment or build, and what is no longer wanted at all. */
async function stopStrangers(
  runners: readonly Runner[],
  known: Readonly<Record<string, PartState>>,
): Promise<void> {
  const changed = runners.filter(
    (runner) => runner.process !== undefined && runner.fingerprint !== runner.part.fingerprint,
  );
  const gone = Object.entries(known).filter(([name]) => !runners.some((runner) => runner.part.name === name));
  for (const { part } of changed) report(`${part.name} is not up to date; starting it again`);
  for (const [name] of gone) report(`${name} is no longer wanted; stopping it`);
  await stopProcesses([
    ...changed.flatMap((runner) => runner.process ?? []),
    ...gone.flatMap(([, state]) => state.process ?? []),
  ]);
  for (const runner of changed) {
    runner.process = undefined;
    runner.ready = false;
  }
}

async function replaceParts(runners: readonly Runner[], parts: readonly Part[]): Promise<Runner[]> {
  const next = parts.map((part) => {
    const runner = runners.find((candidate) => candidate.part.name === part.name);
    return runner === undefined ? adopt(part, undefined) : { ...runner, part };
  });
  await stopStrangers(next, {});
  for (const runner of next) runner.fingerprint = runner.part.fingerprint;
  return next;
}

function noticeDeath(runner: Runner): void {
  if (runner.process === undefined || isAlive(runner.process)) return;
  const livedMs = Date.now() - runner.startedAt;
  runner.failures = livedMs > STEADY_MS ? 1 : runner.failures + 1;
  const backoffMs =
    runner.failures === 1 ? 0 : Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (runner.failures - 2));
  runner.notBefore = Date.now() + backoffMs;
  runner.problem ??= `process ${runner.process.pid} ended; see ${logFile(home, runner.part.name)}`;
  report(`${runner.part.name}: ${runner.problem}; starting it again in ${backoffMs} ms`);
  runner.process = undefined;
  runner.ready = false;
  runner.restarts += 1;
}

/** Workers wait for the servers, so that a start makes no noise; once they run, they outlive a server's absence. */
function mayStart(runner: Runner, runners: readonly Runner[]): boolean {
  if (Date.now() < runner.notBefore) return false;
  return (
    runner.part.kind === 'server' || runners.every((other) => other.part.kind === 'worker' || other.ready)
  );
}

/** Another program may have taken a port while the server was down: then all get new ones, and the workers follow. */
async function moveTakenPorts(
  home: StackHome,
  config: StackConfig,
  { part, failures }: Runner,
): Promise<StackConfig | undefined> {
  // The kernel may need a moment to free the ports of a killed server.
  if (part.kind !== 'server' || failures === 1) return undefined;
  const free = await Promise.all(part.ports.map((port) => isFree(port)));
  const taken = part.ports.filter((_, index) => free[index] === false);
  if (taken.length === 0) return undefined;
  report(`${part.name}: port ${taken.join(', ')} is taken by another program; the stack moves to new ports`);
  const next = { ...(readConfig(home) ?? config), ports: await choosePorts() };
  writeConfig(home, next);
  return next;
}

function start(home: StackHome, config: StackConfig, runner: Runner): void {
  const { part } = runner;
  mkdirSync(path.dirname(home.temporalDb), { recursive: true });
  if (part.name === 'nats') writeFileSync(home.natsConfig, natsConfigText(home, config.ports));
  const [file = '', ...args] = part.command;
  const child = withLog(home, part.name, (log) =>
    spawn(file, args, {
      cwd: home.root,
      env: { ...inheritedEnv(process.env), ...part.env },
      stdio: part.kind === 'worker' ? ['ignore', log, log, 'ipc'] : ['ignore', log, log],
      // In a session of its own: Ctrl-C in the terminal of `mcli up` is not meant for it.
      detached: true,
    }),
  );
  runner.startedAt = Date.now();
  runner.fingerprint = part.fingerprint;
  runner.ready = false;
  runner.problem = undefined;
  runner.process = child.pid === undefined ? undefined : identify(child.pid);
  listen(child, runner);
  if (runner.process === undefined) {
    runner.failures += 1;
    runner.notBefore = Date.now() + MAX_BACKOFF_MS;
  }
  report(`${part.name}: started, pid ${child.pid ?? 'none'}`);
}

function listen(child: ChildProcess, runner: Runner): void {
  const { pid } = child;
  child.on('error', (error) => (runner.problem = error.message));
  child.on('exit', (code, signal) => {
    if (runner.process?.pid === pid) runner.problem = `ended by ${signal ?? `exit code ${code}`}`;
  });
  child.on('message', (message) => {
    if (message === 'ready' && runner.process?.pid === pid) runner.ready = true;
  });
  child.unref();
}

async function checkReady(config: StackConfig, runner: Runner): Promise<void> {
  try {
    if (runner.part.name === 'temporal') await prepareNamespace(config);
    else if (runner.part.name === 'nats') await askNats(config.ports);
    else if (Date.now() - runner.startedAt < ASSUMED_READY_MS) return;
    runner.ready = true;
    runner.problem = undefined;
  } catch (error) {
    runner.problem = (error as Error).message;
  }
}

/** The folder was removed under a running stack: nothing is left to serve. */
async function stopAfterRemoval(runners: readonly Runner[]): Promise<void> {
  await stopProcesses(runners.flatMap((runner) => runner.process ?? []).toReversed());
  process.exit(0);
}

function stateOf(runner: Runner): PartState {
  return {
    ...(runner.process === undefined
      ? {}
      : { process: runner.process, startedAt: new Date(runner.startedAt).toISOString() }),
    fingerprint: runner.fingerprint,
    ready: runner.ready,
    restarts: runner.restarts,
    ...(runner.problem === undefined ? {} : { problem: runner.problem }),
  };
}

function report(line: string): void {
  try {
    appendFileSync(logFile(home, 'supervisor'), `${new Date().toISOString()} ${line}\n`);
  } catch {
    // A log that cannot be written must not end the supervision.
  }
}
