/**
 * stack.json and stack-state.json: what the local stack shall be, and what it is. Read on the way of every command, so
 * without a schema library; only mcli writes them.
 */
import type { StackHome } from './home.ts';
import { readJson, writeJson } from './json-file.ts';
import type { ProcessIdentity } from './process-identity.ts';

/** What `mcli up` can be told; kept, and used again whenever the stack starts by itself. */
export interface StackSettings {
  readonly cluster: string;
  /** How many node agents. */
  readonly nodes: number;
  /** Per node; absent: what nvidia-smi finds. */
  readonly gpus?: number;
  readonly gpuType?: string;
  /** How many `gpus: 0` runs a node takes at once; absent: the agent's default. */
  readonly cpuSlots?: number;
  /** Docker network mode of all containers; absent: Docker's default. */
  readonly containerNetwork?: string;
  /** Environment of all containers: proxies, package index. */
  readonly containerEnv: Readonly<Record<string, string>>;
  /** CA certificates that containers shall trust: a file on this machine. */
  readonly caBundle?: string;
  readonly dockerHost?: string;
}

export interface StackPorts {
  readonly temporal: number;
  readonly temporalHttp: number;
  readonly temporalUi: number;
  readonly nats: number;
  readonly natsMonitor: number;
}

export interface StackTools {
  readonly temporal: string;
  readonly natsServer: string;
}

export interface StackConfig {
  readonly wanted: 'up' | 'down';
  readonly settings: StackSettings;
  readonly ports: StackPorts;
  readonly tools: StackTools;
}

export interface PartState {
  readonly process?: ProcessIdentity;
  /** ISO 8601. */
  readonly startedAt?: string;
  /** Of the command, environment and code it was started with. */
  readonly fingerprint?: string;
  readonly ready: boolean;
  readonly restarts: number;
  /** Why it is not running or not ready, as far as known. */
  readonly problem?: string;
}

export interface StackState {
  readonly supervisor: ProcessIdentity;
  /** ISO 8601. */
  readonly startedAt: string;
  /** The build that supervises. */
  readonly build: string;
  /** Of the settings it works by. */
  readonly settings: string;
  readonly ready: boolean;
  readonly parts: Readonly<Record<string, PartState>>;
}

export const DEFAULT_SETTINGS: StackSettings = { cluster: 'r1z1', nodes: 1, containerEnv: {} };

export const readConfig = (home: StackHome): StackConfig | undefined =>
  readJson(home.config) as StackConfig | undefined;
export const writeConfig = (home: StackHome, config: StackConfig): void => writeJson(home.config, config);
export const readState = (home: StackHome): StackState | undefined =>
  readJson(home.state) as StackState | undefined;
export const writeState = (home: StackHome, state: StackState): void => writeJson(home.state, state);

/** Equal for equal wishes: a supervisor that works by other settings has to be replaced. */
export function settingsKey({ settings, tools }: Pick<StackConfig, 'settings' | 'tools'>): string {
  return JSON.stringify([
    Object.entries(settings).toSorted(([a], [b]) => (a < b ? -1 : 1)),
    tools.temporal,
    tools.natsServer,
  ]);
}
