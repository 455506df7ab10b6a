/** The container of one rank: its environment, its files and its limits. Pure; `container.ts` brings it to life. */
import type { NodeInventory } from '../core/cluster.ts';
import {
  CONFIG_DIR,
  containerName,
  LABELS,
  labelsOfNode,
  masterPort,
  PARAMETERS_PATH,
  RUN_CONFIG_PATH,
} from '../core/naming.ts';
import type { JsonValue, RunSpec } from '../core/run-spec.ts';
import { jsonYaml } from '../core/run-yaml-text.ts';
import { quoteForShell } from '../core/shell-words.ts';
import { TRACKER_NAMES, trackerDefaults, trackerEnvironment } from '../core/tracking.ts';
import { dockerLogOptions } from './container-logs.ts';
import { ENTRY_COMMAND, entryFiles } from './container-entry.ts';
import type { RankExecution } from './contract.ts';
import type { ContainerConfig, ContainerFile } from './docker.ts';
import { ASKPASS_FILE, GIT_ASKPASS } from './git-askpass.ts';

/** What a node does with every container. */
export interface NodeSettings {
  /** Whose containers these are: an agent clears up none of another's. */
  readonly controlPlane: string;
  readonly inventory: NodeInventory;
  /** False for declared GPUs, which are scheduled but not attached. */
  readonly attachGpus: boolean;
  /** Docker network of containers; gangs of several nodes use the host's, so that peers reach each other. */
  readonly containerNetwork: string;
  readonly containerEnv: Readonly<Record<string, string>>;
  /** PEM text of certificates that programs in containers shall trust. */
  readonly caBundle?: string;
  /** What all containers of the node may use at most, in bytes; each gets a share. */
  readonly memoryBytes: number;
  /** Processes and threads that one container may have. */
  readonly maxPids: number;
  /** How much of one rank's log is kept. */
  readonly logLimitBytes: number;
}

/** What other modules add to a container. */
export interface ContainerAdditions {
  /** Paths of this machine that the container sees. */
  readonly mounts: readonly {
    readonly source: string;
    readonly target: string;
    readonly readOnly: boolean;
  }[];
  /** Variables that may be seen in `docker inspect`; the platform's give way to them, they to the user's. */
  readonly environment: Readonly<Record<string, string>>;
}

export const NO_ADDITIONS: ContainerAdditions = { mounts: [], environment: {} };

export function joinAdditions(...all: readonly ContainerAdditions[]): ContainerAdditions {
  return {
    mounts: all.flatMap(({ mounts }) => mounts),
    environment: Object.assign({}, ...all.map(({ environment }) => environment)) as Record<string, string>,
  };
}

/** Memory-backed, where there is one: variables that must not be seen in `docker inspect`, as a file for bash. */
export const SECRET_ENVIRONMENT_PATH = '/mnt/mcli-secrets/env.sh';

const COMMAND_PATH = `${CONFIG_DIR}/command.sh`;
const CA_BUNDLE_PATH = `${CONFIG_DIR}/ca-bundle.pem`;

/** Variables by which common programs find certificates. */
const CA_VARIABLES = [
  'SSL_CERT_FILE',
  'REQUESTS_CA_BUNDLE',
  'PIP_CERT',
  'CURL_CA_BUNDLE',
  'GIT_SSL_CAINFO',
  'NODE_EXTRA_CA_CERTS',
];

/** @param raiseLimits false where the daemon itself may not raise them: in a container, or without root. */
export function containerConfig(
  input: RankExecution,
  settings: NodeSettings,
  raiseLimits: boolean,
  additions = NO_ADDITIONS,
): ContainerConfig {
  const { spec } = input;
  const attached = settings.attachGpus && input.gpuIds.length > 0;
  const share = shareOfNode(input, settings.inventory);
  const memory = memoryLimit(share, settings.memoryBytes);
  return {
    name: containerName(input),
    Image: spec.image,
    Entrypoint: [],
    Cmd: ENTRY_COMMAND,
    Env: Object.entries(containerEnvironment(input, settings, additions)).map(
      ([name, value]) => `${name}=${value}`,
    ),
    Labels: {
      ...labelsOfNode({ ...input, controlPlane: settings.controlPlane }),
      [LABELS.run]: input.run,
      [LABELS.resumption]: String(input.resumption),
      [LABELS.rank]: String(input.rank),
      [LABELS.ranks]: String(input.numNodes),
      [LABELS.fence]: String(input.fence),
      [LABELS.gpus]: input.gpuIds.join(),
    },
    HostConfig: {
      // An init process hands on signals, and reaps what the command leaves behind.
      Init: true,
      RestartPolicy: { Name: 'no' },
      Mounts: additions.mounts.map(({ source, target, readOnly }) => ({
        Type: 'bind',
        Source: source,
        Target: target,
        ReadOnly: readOnly,
      })),
      NetworkMode: input.numNodes > 1 ? 'host' : settings.containerNetwork,
      LogConfig: dockerLogOptions(settings.logLimitBytes),
      // A weight and no limit: who needs more than a share takes what others leave. Services of the system weigh as
      // much as a run that has the whole node, or more.
      CpuShares: Math.max(MIN_CPU_SHARES, Math.round(WHOLE_CPU_SHARES * share)),
      Memory: memory,
      MemorySwap: memory,
      // When the machine itself runs out, the kernel ends a run, and neither Docker nor the agent.
      OomScoreAdj: input.gpuIds.length > 0 ? 300 : 700,
      // Data loaders pass batches through /dev/shm; Docker's 64 MB are too few, and unused pages cost nothing.
      ShmSize: Math.floor(memory / 2),
      PidsLimit: settings.maxPids,
      Ulimits: raiseLimits ? RAISED_LIMITS : [],
      ...(attached && {
        DeviceRequests: [{ Driver: '', DeviceIDs: input.gpuIds.map(String), Capabilities: [['gpu']] }],
      }),
    },
  };
}

/** From 0 to 1. GPUs share a node out between them, and so do its CPU slots. */
function shareOfNode({ gpuIds }: RankExecution, { gpus, cpuSlots }: NodeInventory): number {
  // A node that offers less than before may still hold runs of then.
  return Math.min(1, gpuIds.length > 0 ? gpuIds.length / gpus : 1 / cpuSlots);
}

/**
 * A share, so that the runs of a node find room side by side; but not less than a program needs to be of use, where
 * the node has many slots: then their sum may be more than there is.
 */
function memoryLimit(share: number, memoryBytes: number): number {
  return Math.floor(Math.max(memoryBytes * share, Math.min(memoryBytes, LEAST_MEMORY_BYTES)));
}

const LEAST_MEMORY_BYTES = 4 * 1024 ** 3;
/** Docker's default weight, and the least that it takes. */
const WHOLE_CPU_SHARES = 1_024;
const MIN_CPU_SHARES = 2;

/**
 * NCCL and RDMA pin memory; large models recurse deeply; data loaders hold many files open. A program may ask for core
 * dumps: nobody looks for one in a container, and a large one fills the disk.
 */
const RAISED_LIMITS = [
  { Name: 'core', Soft: 0, Hard: -1 },
  { Name: 'memlock', Soft: -1, Hard: -1 },
  { Name: 'stack', Soft: 67_108_864, Hard: 67_108_864 },
  { Name: 'nofile', Soft: 1_048_576, Hard: 1_048_576 },
];

/** Later ones win: the node's, the platform's, the trackers', the additions', the user's; but which GPUs is no choice. */
function containerEnvironment(
  input: RankExecution,
  settings: NodeSettings,
  additions: ContainerAdditions,
): Record<string, string> {
  const { NVIDIA_VISIBLE_DEVICES: _, ...environment } = chosenEnvironment(input, settings, additions);
  // Docker sets it for what is attached. Where its default runtime is NVIDIA's, this alone would attach GPUs of others.
  const attached = settings.attachGpus && input.gpuIds.length > 0;
  return attached ? environment : { ...environment, NVIDIA_VISIBLE_DEVICES: 'void' };
}

function chosenEnvironment(
  input: RankExecution,
  settings: NodeSettings,
  additions: ContainerAdditions,
): Record<string, string> {
  const { spec } = input;
  return {
    ...(settings.caBundle !== undefined &&
      Object.fromEntries(CA_VARIABLES.map((name) => [name, CA_BUNDLE_PATH]))),
    ...GIT_ASKPASS,
    ...trackerDefaults(spec),
    ...settings.containerEnv,
    RUN_NAME: input.run,
    COMPOSER_RUN_NAME: input.run,
    MOSAICML_PLATFORM: 'true',
    PARAMETERS: PARAMETERS_PATH,
    RESUMPTION_INDEX: String(input.resumption),
    NUM_NODES: String(input.numNodes),
    NODE_RANK: String(input.rank),
    LOCAL_WORLD_SIZE: String(input.localWorldSize),
    WORLD_SIZE: String(input.worldSize),
    // A run on one node is its own peer; the node's name may mean nothing inside the container's network.
    MASTER_ADDR: input.numNodes > 1 ? input.masterAddress : '127.0.0.1',
    MASTER_PORT: String(masterPort(input.fence)),
    ...trackerEnvironment(input.run, input.rank, spec),
    ...input.tracking?.environment,
    ...additions.environment,
    ...spec.envVariables,
  };
}

export function integrationFiles(
  input: RankExecution,
  settings: NodeSettings,
  script: string,
): ContainerFile[] {
  return [
    ...configFiles(input.spec, settings),
    ...entryFiles(`${READ_SECRETS}${trackerLines(input)}${script}`),
  ];
}

/** How every program of a container begins. */
export const READ_SECRETS = `if [ -f ${SECRET_ENVIRONMENT_PATH} ]; then source ${SECRET_ENVIRONMENT_PATH}; fi
`;

/**
 * The program of the command. On SIGTERM bash waits for its children, which got the signal too, so that they have
 * their grace time; without the trap it would end at once and take them with it. `source` keeps the line numbers of
 * the command in error messages.
 */
const COMMAND_PROGRAM = `trap 'wait; exit 143' TERM
set -e
source ${COMMAND_PATH}
`;

export function commandFiles(input: RankExecution, settings: NodeSettings): ContainerFile[] {
  const { spec } = input;
  const isFirst = spec.integrations.every((integration) => 'environment' in integration);
  const lines = isFirst ? trackerLines(input) : '';
  return [...configFiles(spec, settings), ...entryFiles(`${READ_SECRETS}${lines}${COMMAND_PROGRAM}`)];
}

/** Where the run is seen, as the first lines of its log, and what did not work. */
function trackerLines({ rank, tracking }: RankExecution): string {
  if (rank > 0 || tracking === undefined) return '';
  const lines = tracking.entries.flatMap(({ tracker, url, problem }) => [
    ...(url === undefined ? [] : [`${TRACKER_NAMES[tracker]}: ${url}`]),
    ...(problem === undefined ? [] : [problem]),
  ]);
  return lines.map((line) => `echo ${quoteForShell(`[mcli] ${line}`)}\n`).join('');
}

function configFiles(spec: RunSpec, settings: NodeSettings): ContainerFile[] {
  return [
    { path: PARAMETERS_PATH, content: spec.parametersYaml },
    { path: RUN_CONFIG_PATH, content: runConfigYaml(spec) },
    { path: COMMAND_PATH, content: `${spec.command}\n` },
    ASKPASS_FILE,
    ...(settings.caBundle === undefined ? [] : [{ path: CA_BUNDLE_PATH, content: settings.caBundle }]),
  ];
}

/** The run as it was understood, with the parameters verbatim. */
function runConfigYaml(spec: RunSpec): string {
  const { parametersYaml, ...rest } = spec;
  const head = jsonYaml(withSnakeCaseKeys(rest) as { readonly [key: string]: JsonValue });
  const parameters = parametersYaml.replaceAll(/^(?=.)/gm, '  ');
  return `${head}parameters:\n${parameters}`;
}

/** Names of environment variables and of metadata are the user's own. */
const VERBATIM = new Set(['envVariables', 'metadata', 'environment']);

function withSnakeCaseKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withSnakeCaseKeys);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, content]) => [
      key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      VERBATIM.has(key) ? content : withSnakeCaseKeys(content),
    ]),
  );
}
