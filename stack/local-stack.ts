/**
 * The local stack for those who need it: is it up, bring it up, take it down. Finding it up is on the way of every
 * command and costs two small files; everything else is loaded only when there is something to do.
 */
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { NAMESPACE } from '../core/naming.ts';
import { natsUrl, temporalAddress, webUiUrl } from './addresses.ts';
import type { StackConfig, StackState } from './config.ts';
import { readConfig, readState, settingsKey, writeConfig } from './config.ts';
import type { Say } from './errors.ts';
import { StackError } from './errors.ts';
import type { StackHome } from './home.ts';
import { nodeKeyFile, stackHome } from './home.ts';
import { buildId } from './package-root.ts';
import { isAlive, signal } from './process-identity.ts';
import type { StackChanges } from './settings.ts';

export interface StackAddresses {
  /** host:port */
  readonly temporalAddress: string;
  readonly namespace: string;
  readonly natsUrl: string;
  readonly webUiUrl: string;
}

export interface StackContext {
  readonly env: NodeJS.ProcessEnv;
  readonly say: Say;
}

/** Another command may be installing Docker and building an image meanwhile. */
const SETUP_WAIT_MS = 20 * 60_000;
const READY_TIMEOUT_MS = 60_000;
const LEAVE_TIMEOUT_MS = 10_000;
const POLL_MS = 50;
const SERVERS = ['temporal', 'nats'];

/**
 * The addresses of the local stack; starts it, and sets up what is missing, when it is not up.
 * @throws StackError with what to do, when a step of the set-up fails.
 */
export async function ensureStack(context: StackContext): Promise<StackAddresses> {
  const home = stackHome(context.env);
  const config = readConfig(home);
  if (config !== undefined && isUp(home, config)) return addresses(config);
  return await bringUp(context, {});
}

/** `mcli up`: like `ensureStack`, with settings that are kept. Restarts only the parts that a change concerns. */
export async function bringUp(
  { env, say }: StackContext,
  changes: StackChanges,
  { refreshEnvironment = false }: { readonly refreshEnvironment?: boolean } = {},
): Promise<StackAddresses> {
  const home = stackHome(env);
  const { takeLock } = await import('./lock.ts');
  const lock = await takeLock(home.setupLock, {
    waitMs: SETUP_WAIT_MS,
    onWait: () => say('Another mcli is setting up the local stack; waiting for it …'),
  });
  if (lock === undefined) {
    throw new StackError({
      message: 'The local stack is still being set up by another mcli',
      why: `it has held ${home.setupLock} for ${SETUP_WAIT_MS / 60_000} minutes`,
      fix: 'see what it does (`ps aux | grep mcli`), end it if it hangs, and repeat the command',
    });
  }
  try {
    const config = await prepare(home, { env, say }, { changes, refreshEnvironment });
    if (isUp(home, config)) return addresses(config);
    await startSupervisor(home, config, say);
    // The supervisor may have moved to other ports.
    return addresses(readConfig(home) ?? config);
  } finally {
    lock.release();
  }
}

/** `mcli down`: ends every part and keeps the data. Containers run on. Answers how many processes it ended. */
export async function takeDown({ env }: Pick<StackContext, 'env'>): Promise<number> {
  const home = stackHome(env);
  const { takeLock } = await import('./lock.ts');
  const config = readConfig(home);
  if (config === undefined) return 0;
  const lock = await takeLock(home.setupLock, { waitMs: SETUP_WAIT_MS });
  try {
    // First, so that no worker brings the supervisor back.
    writeConfig(home, { ...config, wanted: 'down' });
    await endSupervisor(home);
    const { stopProcesses } = await import('./stop-processes.ts');
    const alive = Object.entries(readState(home)?.parts ?? {}).flatMap(([name, { process }]) =>
      process !== undefined && isAlive(process) ? [{ process, isServer: SERVERS.includes(name) }] : [],
    );
    // The servers last: workers say good-bye to them.
    for (const servers of [false, true]) {
      await stopProcesses(alive.flatMap(({ process, isServer }) => (isServer === servers ? process : [])));
    }
    return alive.length;
  } finally {
    lock?.release();
  }
}

function isUp(home: StackHome, config: StackConfig): boolean {
  const state = readState(home);
  return config.wanted === 'up' && state !== undefined && state.ready && serves(state, config);
}

/** A supervisor of this build and these settings. */
function serves(state: StackState, config: StackConfig): boolean {
  return isAlive(state.supervisor) && state.build === buildId() && state.settings === settingsKey(config);
}

async function prepare(
  home: StackHome,
  { env, say }: StackContext,
  { changes, refreshEnvironment }: { readonly changes: StackChanges; readonly refreshEnvironment: boolean },
): Promise<StackConfig> {
  const [
    { applyChanges, environmentSettings },
    { ensureTools },
    { ensureDocker },
    { ensureStarterImage },
    { ensureNodeKey },
    ports,
  ] = await Promise.all([
    import('./settings.ts'),
    import('./tools.ts'),
    import('./docker.ts'),
    import('./starter-image.ts'),
    import('./node-key.ts'),
    import('./ports.ts'),
  ]);
  const known = readConfig(home);
  const wished = applyChanges(known?.settings, changes);
  const { containerEnv, caBundle, dockerHost, ...chosen } = wished;
  const fromEnvironment =
    known === undefined || refreshEnvironment
      ? environmentSettings(env)
      : {
          containerEnv,
          ...(caBundle === undefined ? {} : { caBundle }),
          ...(dockerHost === undefined ? {} : { dockerHost }),
        };
  // pip and apt-get do not meet: the servers come while Docker and the image are prepared.
  const [tools] = await Promise.all([
    ensureTools(home, say),
    ensureDocker(home, fromEnvironment.dockerHost, say).then((host) => ensureStarterImage(home, host, say)),
  ]);
  await ensureNodeKey(nodeKeyFile(home, chosen.cluster));
  const config: StackConfig = {
    wanted: 'up',
    settings: { ...chosen, ...fromEnvironment },
    ports: known?.ports ?? (await ports.choosePorts()),
    tools,
  };
  writeConfig(home, config);
  return config;
}

async function startSupervisor(home: StackHome, config: StackConfig, say: Say): Promise<void> {
  const { spawnSupervisor } = await import('./parent-watch.ts');
  const startedAt = Date.now();
  const state = readState(home);
  const alive = state !== undefined && isAlive(state.supervisor);
  if (alive && serves(state, config)) {
    say('The local stack is not quite up; waiting for it …');
  } else {
    const agents = config.settings.nodes === 1 ? 'node agent' : `${config.settings.nodes} node agents`;
    say(
      `${alive ? 'Updating' : 'Starting'} the local stack in ${home.root}: Temporal, NATS, workers, ${agents} …`,
    );
    if (alive) await endSupervisor(home);
    spawnSupervisor(home);
  }
  await waitUntilReady(home, config);
  const { webUiUrl } = addresses(readConfig(home) ?? config);
  say(`Local stack up in ${((Date.now() - startedAt) / 1000).toFixed(1)} s; Web UI: ${webUiUrl}`);
}

async function waitUntilReady(home: StackHome, config: StackConfig): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  while (!isUp(home, config)) {
    if (Date.now() > deadline) throw await explain(home);
    await sleep(POLL_MS);
  }
}

async function explain(home: StackHome): Promise<StackError> {
  const [{ logFile }, { lastLines }] = await Promise.all([import('./log-files.ts'), import('./shell.ts')]);
  const state = readState(home);
  const [name, part] = Object.entries(state?.parts ?? {}).find(([, { ready }]) => !ready) ?? ['supervisor'];
  const log = logFile(home, name);
  const tail = existsSync(log) ? lastLines(readFileSync(log, 'utf8').slice(-4_000), 4) : 'its log is empty';
  return new StackError({
    message: `The local stack did not come up within ${READY_TIMEOUT_MS / 1000} s: ${name} is not ready`,
    why: `${part?.problem ?? 'it has not reported'}; its log ends with:\n       ${tail}`,
    fix: `see ${log}, and \`mcli status\`; the supervisor goes on trying`,
  });
}

/** Its parts stay. A worker may have started another one meanwhile, so until there is none. */
async function endSupervisor(home: StackHome): Promise<void> {
  const deadline = Date.now() + LEAVE_TIMEOUT_MS;
  for (;;) {
    const state = readState(home);
    if (state === undefined || !signal(state.supervisor, 'SIGTERM')) return;
    if (Date.now() > deadline) signal(state.supervisor, 'SIGKILL');
    await sleep(POLL_MS);
  }
}

function addresses({ ports }: StackConfig): StackAddresses {
  return {
    temporalAddress: temporalAddress(ports),
    namespace: NAMESPACE,
    natsUrl: natsUrl(ports),
    webUiUrl: webUiUrl(ports),
  };
}
