/** From what a person types at `mcli up`, and from the environment, to the settings that are kept. */
import type { StackSettings } from './config.ts';
import { DEFAULT_SETTINGS } from './config.ts';
import { StackError } from './errors.ts';

/** Options of `mcli up`; what is absent stays as it was. */
export interface StackChanges {
  readonly cluster?: string;
  readonly nodes?: number;
  /** `auto`: what nvidia-smi finds. */
  readonly gpus?: number | 'auto';
  readonly gpuType?: string;
  readonly cpuSlots?: number;
  readonly containerNetwork?: string;
}

const MAX_NODES = 64;

/** What containers get of the machine's environment: without these they may not reach a package index. */
const FOR_CONTAINERS = [
  ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'http_proxy', 'https_proxy', 'no_proxy'],
  ['PIP_INDEX_URL', 'PIP_EXTRA_INDEX_URL', 'PIP_TRUSTED_HOST'],
].flat();

/** The part of the settings that comes from the environment of `mcli up`. */
export function environmentSettings(
  env: NodeJS.ProcessEnv,
): Pick<StackSettings, 'containerEnv' | 'caBundle' | 'dockerHost'> {
  return {
    containerEnv: Object.fromEntries(
      FOR_CONTAINERS.flatMap((name) => (env[name] ? [[name, env[name]] as const] : [])),
    ),
    ...(env['SSL_CERT_FILE'] ? { caBundle: env['SSL_CERT_FILE'] } : {}),
    ...(env['DOCKER_HOST'] ? { dockerHost: env['DOCKER_HOST'] } : {}),
  };
}

/** @throws StackError when the wishes contradict each other. */
export function applyChanges(current: StackSettings | undefined, changes: StackChanges): StackSettings {
  const { gpus, ...rest } = changes;
  const { gpus: oldGpus, gpuType: oldType, ...kept } = { ...DEFAULT_SETTINGS, ...current };
  const nextGpus = gpus === undefined ? oldGpus : gpus === 'auto' ? undefined : gpus;
  const { gpuType = oldType, ...others } = rest;
  const next = { ...kept, ...others };
  if (!Number.isInteger(next.nodes) || next.nodes < 1 || next.nodes > MAX_NODES) {
    throw new StackError({
      message: `A local stack of ${next.nodes} nodes is not possible`,
      why: `every node is a process on this machine; 1 to ${MAX_NODES} make sense`,
      fix: 'choose another --nodes',
    });
  }
  if (nextGpus === undefined || nextGpus === 0) {
    if (rest.gpuType !== undefined) {
      throw new StackError({
        message: `--gpu-type ${rest.gpuType} without a number of GPUs`,
        why: 'a type describes GPUs that are declared; GPUs that nvidia-smi finds have their own',
        fix: `add the number per node: mcli up --gpus 8 --gpu-type ${rest.gpuType}`,
      });
    }
    return nextGpus === undefined ? next : { ...next, gpus: 0 };
  }
  if (gpuType === undefined) {
    throw new StackError({
      message: `--gpus ${nextGpus} without their type`,
      why: 'runs ask for GPUs by type, and declared GPUs have no other',
      fix: `add it: mcli up --gpus ${nextGpus} --gpu-type a100_80gb`,
    });
  }
  return { ...next, gpus: nextGpus, gpuType };
}
