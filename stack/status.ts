/** How the local stack is, asked of every part itself. */
import { natsUrl, temporalAddress, webUiUrl } from './addresses.ts';
import type { PartState, StackConfig, StackState } from './config.ts';
import { readConfig, readState } from './config.ts';
import { dockerHealth } from './docker-engine.ts';
import type { StackHome } from './home.ts';
import { logFile } from './log-files.ts';
import type { Part } from './parts.ts';
import { stackParts } from './parts.ts';
import type { Pollers } from './pollers.ts';
import { isAlive } from './process-identity.ts';
import { askNats, askTemporal } from './servers.ts';

export type Health = 'healthy' | 'starting' | 'unhealthy' | 'stopped';

export interface PartStatus {
  readonly name: string;
  /** host:port or URL of a server; the task queue of a worker. */
  readonly address: string;
  readonly pid: number | null;
  readonly startedAt: string | null;
  readonly uptimeSeconds: number | null;
  readonly health: Health;
  readonly restarts: number;
  /** Why it is not healthy, or what there is to know. */
  readonly detail: string;
}

export interface StackStatus {
  readonly home: string;
  readonly state: 'up' | 'down';
  /** True when every part is healthy. */
  readonly healthy: boolean;
  readonly cluster: string | null;
  readonly webUi: string | null;
  /** How long finished runs stay in `mcli get runs`, as the server says; `null` when it does not answer. */
  readonly historyDays: number | null;
  readonly logs: string;
  readonly parts: readonly PartStatus[];
}

export async function stackStatus(home: StackHome): Promise<StackStatus> {
  const config = readConfig(home);
  const state = readState(home);
  const supervisorAlive = state !== undefined && isAlive(state.supervisor);
  if (config === undefined || (config.wanted === 'down' && !supervisorAlive)) return down(home, config);
  const [temporal, parts, docker] = await Promise.all([
    askTemporal(config.ports).catch(() => undefined),
    partStatuses(home, config, state),
    dockerStatus(config),
  ]);
  const all = [supervisorStatus(state, supervisorAlive), ...parts, docker];
  return {
    home: home.root,
    state: 'up',
    healthy: all.every(({ health }) => health === 'healthy'),
    cluster: config.settings.cluster,
    webUi: webUiUrl(config.ports),
    historyDays: temporal?.historyDays ?? null,
    logs: home.logs,
    parts: all,
  };
}

function down(home: StackHome, config: StackConfig | undefined): StackStatus {
  return {
    home: home.root,
    state: 'down',
    healthy: false,
    cluster: config?.settings.cluster ?? null,
    webUi: null,
    historyDays: null,
    logs: home.logs,
    parts: [],
  };
}

function supervisorStatus(state: StackState | undefined, alive: boolean): PartStatus {
  return {
    name: 'supervisor',
    address: '-',
    ...lifetime(alive ? { process: state?.supervisor, startedAt: state?.startedAt } : {}),
    health: alive ? 'healthy' : 'stopped',
    restarts: 0,
    detail: alive ? '' : 'it is started again by a worker, or by the next command',
  };
}

async function partStatuses(
  home: StackHome,
  config: StackConfig,
  state: StackState | undefined,
): Promise<readonly PartStatus[]> {
  const pollers = connectPollers(config);
  try {
    return await Promise.all(
      stackParts(home, config).map(async (part) => {
        const known = state?.parts[part.name];
        const process = known?.process !== undefined && isAlive(known.process) ? known.process : undefined;
        const base = {
          name: part.name,
          address: addressOf(part, config),
          ...lifetime(process === undefined ? {} : { process, startedAt: known?.startedAt }),
          restarts: known?.restarts ?? 0,
        };
        if (process === undefined) {
          return {
            ...base,
            health: 'stopped' as const,
            detail: known?.problem ?? `see ${logFile(home, part.name)}`,
          };
        }
        const problem = await check(part, config, process.pid, pollers);
        if (problem === undefined) return { ...base, health: 'healthy' as const, detail: '' };
        return {
          ...base,
          health: known?.ready === true ? 'unhealthy' : 'starting',
          detail: problem,
        } as const;
      }),
    );
  } finally {
    await (await pollers.catch(() => undefined))?.close();
  }
}

function connectPollers({ ports }: StackConfig): Promise<Pollers> {
  const connecting = import('./pollers.ts').then(({ Pollers }) => Pollers.connect(temporalAddress(ports)));
  // Parts report it; where none runs, nobody does.
  connecting.catch(() => undefined);
  return connecting;
}

/** What is wrong with a part whose process is alive. */
async function check(
  part: Part,
  config: StackConfig,
  pid: number,
  pollers: Promise<Pollers>,
): Promise<string | undefined> {
  try {
    if (part.name === 'temporal') await askTemporal(config.ports);
    else if (part.name === 'nats') await askNats(config.ports);
    else if (part.kind === 'worker' && !(await (await pollers).includes(part, pid))) {
      return `does not poll its task queue ${part.taskQueue}`;
    }
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

async function dockerStatus({ settings }: StackConfig): Promise<PartStatus> {
  const health = await dockerHealth(settings.dockerHost);
  return {
    name: 'docker',
    address: health.host,
    ...lifetime({}),
    health: health.reachable ? 'healthy' : 'unhealthy',
    restarts: 0,
    detail: health.reachable ? `Docker ${health.version}` : health.why,
  };
}

function addressOf(part: Part, { ports }: StackConfig): string {
  if (part.kind === 'worker') return part.taskQueue;
  return part.name === 'temporal' ? temporalAddress(ports) : natsUrl(ports);
}

function lifetime({
  process,
  startedAt,
}: {
  readonly process?: PartState['process'] | undefined;
  readonly startedAt?: string | undefined;
}): Pick<PartStatus, 'pid' | 'startedAt' | 'uptimeSeconds'> {
  return {
    pid: process?.pid ?? null,
    startedAt: startedAt ?? null,
    uptimeSeconds:
      startedAt === undefined ? null : Math.max(0, Math.round((Date.now() - Date.parse(startedAt)) / 1000)),
  };
}
