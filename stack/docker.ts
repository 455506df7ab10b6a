/**
 * Docker for the local stack: finds the daemon, or as root on Debian and Ubuntu installs and starts it. Anywhere else
 * the exact commands are told.
 */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DockerHealth } from './docker-engine.ts';
import { dockerHealth } from './docker-engine.ts';
import type { Say } from './errors.ts';
import { StackError } from './errors.ts';
import type { StackHome } from './home.ts';
import { lastLines, runProgram } from './shell.ts';

const APT_TIMEOUT_MS = 10 * 60_000;
const START_TIMEOUT_MS = 60_000;

/**
 * The address of a Docker daemon that answers. `configured` is DOCKER_HOST.
 * @throws StackError with what to type when there is none and mcli may not, or could not, set one up.
 */
export async function ensureDocker(
  home: StackHome,
  configured: string | undefined,
  say: Say,
): Promise<string> {
  const health = await dockerHealth(configured);
  if (health.reachable) return health.host;
  if (configured !== undefined || health.code === 'EACCES' || !maySetUp()) throw explain(health, configured);
  if (!(await isInstalled())) await install(say);
  await start(home, say);
  return await waitUntilReachable(home);
}

/** Debian's way of installing and starting is known; other systems have their own. */
function maySetUp(): boolean {
  return process.platform === 'linux' && process.getuid?.() === 0 && isDebianLike();
}

function isDebianLike(): boolean {
  try {
    return /^(ID|ID_LIKE)=.*\b(debian|ubuntu)\b/m.test(readFileSync('/etc/os-release', 'utf8'));
  } catch {
    return false;
  }
}

async function isInstalled(): Promise<boolean> {
  return (await runProgram(['dockerd', '--version'], { timeoutMs: 20_000 })).code === 0;
}

async function install(say: Say): Promise<void> {
  say('Runs are Docker containers, and this machine has no Docker: installing docker.io with apt-get …');
  const startedAt = Date.now();
  const steps = [
    ['apt-get', 'update'],
    // iptables is only recommended by the package, and Docker's default network needs it.
    ['apt-get', 'install', '-y', '--no-install-recommends', 'docker.io', 'iptables', 'ca-certificates'],
  ];
  for (const step of steps) {
    const { code, tail } = await runProgram(step, {
      timeoutMs: APT_TIMEOUT_MS,
      env: { DEBIAN_FRONTEND: 'noninteractive' },
    });
    if (code !== 0) {
      throw new StackError({
        message: `Set-up stopped while it installed Docker: ${step.join(' ')}`,
        why: lastLines(tail, 4),
        fix: 'connect to the network (apt must reach a mirror) and repeat the command, or install Docker yourself',
      });
    }
  }
  say(`Docker installed in ${((Date.now() - startedAt) / 1000).toFixed(0)} s`);
}

/** Docker is the machine's, not a part of the stack: `mcli down` leaves it, as it leaves the containers. */
async function start(home: StackHome, say: Say): Promise<void> {
  if (existsSync('/run/systemd/system')) {
    say('Starting Docker: systemctl enable --now docker');
    const { code, tail } = await runProgram(['systemctl', 'enable', '--now', 'docker'], {
      timeoutMs: START_TIMEOUT_MS,
    });
    if (code === 0) return;
    throw new StackError({
      message: 'Docker is installed but systemd could not start it',
      why: lastLines(tail, 3),
      fix: 'see `journalctl -u docker`, mend what it names, and repeat the command',
    });
  }
  say('Starting Docker: dockerd, in the background (this machine has no systemd)');
  mkdirSync(home.logs, { recursive: true });
  const log = openSync(dockerdLog(home), 'a');
  const child = spawn('dockerd', [], { stdio: ['ignore', log, log], detached: true });
  // A daemon that cannot start shows as one that never answers, with its log in the error.
  child.on('error', () => undefined);
  child.unref();
  closeSync(log);
}

async function waitUntilReachable(home: StackHome): Promise<string> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const health = await dockerHealth(undefined);
    if (health.reachable) return health.host;
    if (Date.now() > deadline) {
      const log = existsSync(dockerdLog(home)) ? readFileSync(dockerdLog(home), 'utf8') : health.why;
      throw new StackError({
        message: `Docker did not answer within ${START_TIMEOUT_MS / 1000} s of its start`,
        why: lastLines(log, 4),
        fix: `see ${dockerdLog(home)}, mend what it names, and repeat the command; Docker needs a kernel with overlayfs and iptables`,
      });
    }
    await sleep(250);
  }
}

const dockerdLog = (home: StackHome): string => path.join(home.logs, 'dockerd.log');

function explain(
  health: DockerHealth & { readonly reachable: false },
  configured: string | undefined,
): StackError {
  const why = `Docker does not answer at ${health.host}: ${health.why}`;
  const message = 'Runs are Docker containers, and no Docker daemon can be reached';
  if (configured !== undefined) {
    return new StackError({
      message,
      why,
      fix: 'correct DOCKER_HOST, or unset it: mcli then looks for Docker itself',
    });
  }
  if (health.code === 'EACCES') {
    return new StackError({
      message: 'This user may not talk to Docker',
      why,
      fix: 'sudo usermod -aG docker "$USER" && newgrp docker    (then repeat the command)',
    });
  }
  if (process.platform !== 'linux') {
    return new StackError({
      message,
      why,
      fix: 'install and start Docker Desktop (https://docs.docker.com/desktop) or Colima, then repeat the command',
    });
  }
  const fix = isDebianLike()
    ? 'type this, then repeat the command:\n' +
      '       sudo apt-get update\n' +
      '       sudo apt-get install -y --no-install-recommends docker.io iptables\n' +
      '       sudo systemctl enable --now docker\n' +
      '       sudo usermod -aG docker "$USER" && newgrp docker'
    : 'install Docker Engine (https://docs.docker.com/engine/install), start it, then repeat the command';
  return new StackError({ message, why, fix });
}
