/** The processes of the local stack, as data: what is started, with which environment, after what. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { CLUSTER_QUEUE, CONTROL_QUEUE, NAMESPACE, nodeQueue } from '../core/naming.ts';
import { SEARCH_ATTRIBUTES } from '../core/search-attributes.ts';
import { LOOPBACK, natsUrl, temporalAddress } from './addresses.ts';
import type { StackConfig, StackPorts } from './config.ts';
import { nodeKeyFile } from './home.ts';
import type { StackHome } from './home.ts';
import { distFile } from './package-root.ts';
import { PART_VARIABLE } from './parent-watch.ts';

export type Part = {
  readonly name: string;
  readonly command: readonly string[];
  /** Beside what every part inherits. */
  readonly env: Readonly<Record<string, string>>;
  /** Changes when a running part no longer is what it should be. */
  readonly fingerprint: string;
} & (
  | { readonly kind: 'server'; readonly ports: readonly number[] }
  | { readonly kind: 'worker'; readonly taskQueue: string; readonly serves: 'workflows' | 'activities' }
);

/** In the order of their start; they stop in the reverse order. */
export function stackParts(home: StackHome, config: StackConfig): readonly Part[] {
  return [
    temporal(home, config),
    nats(home, config),
    worker(home, config, {
      name: 'control-worker',
      program: 'control-worker.js',
      code: ['workflows-run.js'],
      taskQueue: CONTROL_QUEUE,
      serves: 'workflows',
    }),
    worker(home, config, {
      name: 'cluster-worker',
      program: 'cluster-worker.js',
      code: ['workflows-cluster.js'],
      taskQueue: CLUSTER_QUEUE,
      serves: 'workflows',
    }),
    ...nodeNames(config.settings.nodes).map((node) => nodeAgent(home, config, node)),
  ];
}

/** What nats-server reads: the option for large messages exists only in its file. */
export function natsConfigText(home: StackHome, ports: StackPorts): string {
  return [
    `server_name: mcli`,
    `listen: "${LOOPBACK}:${ports.nats}"`,
    `http: "${LOOPBACK}:${ports.natsMonitor}"`,
    'max_payload: 8MB',
    // On the disk before it is acknowledged, as in deploy/nats/nats.conf.
    `jetstream { store_dir: ${JSON.stringify(home.natsData)}, sync_interval: always }`,
    '',
  ].join('\n');
}

/** Durable under SIGKILL, and measured: see docs/adr on the local server. */
const QUEUE_PROCESSORS = ['transfer', 'timer', 'visibility'];

function temporal(home: StackHome, { tools, ports }: StackConfig): Part {
  const attributes = Object.entries(SEARCH_ATTRIBUTES).map(([name, type]) => `${name}=${type}`);
  const command = [
    [tools.temporal, 'server', 'start-dev', '--ip', LOOPBACK, '--port', String(ports.temporal)],
    ['--http-port', String(ports.temporalHttp), '--ui-port', String(ports.temporalUi)],
    ['--log-level', 'warn', '--ui-disable-news-fetch', '--db-filename', home.temporalDb],
    ['--sqlite-pragma', 'journal_mode=wal', '--sqlite-pragma', 'synchronous=normal'],
    ['--namespace', NAMESPACE],
    ...attributes.map((attribute) => ['--search-attribute', attribute]),
    // More than one partition adds seconds to the tail; a small signal buffer lets a flood kill the cluster worker.
    ['--dynamic-config-value', 'matching.numTaskqueueReadPartitions=1'],
    ['--dynamic-config-value', 'matching.numTaskqueueWritePartitions=1'],
    ['--dynamic-config-value', 'history.maximumBufferedEventsBatch=5000'],
    // The default of 20 polls/s and shard, with one shard, adds 50 ms to every step of a run.
    ...QUEUE_PROCESSORS.map((queue) => [
      '--dynamic-config-value',
      `history.${queue}ProcessorMaxPollRPS=1000`,
    ]),
  ].flat();
  return {
    name: 'temporal',
    kind: 'server',
    command,
    env: {},
    ports: [ports.temporal, ports.temporalHttp, ports.temporalUi],
    fingerprint: fingerprint([command]),
  };
}

function nats(home: StackHome, { tools, ports }: StackConfig): Part {
  const command = [tools.natsServer, '-c', home.natsConfig];
  return {
    name: 'nats',
    kind: 'server',
    command,
    env: {},
    ports: [ports.nats, ports.natsMonitor],
    fingerprint: fingerprint([command, natsConfigText(home, ports)]),
  };
}

const nodeNames = (count: number): readonly string[] =>
  Array.from({ length: count }, (_, index) => `node-${index}`);

function nodeAgent(home: StackHome, config: StackConfig, node: string): Part {
  const { settings } = config;
  const given = Object.entries({
    MCLI_CLUSTER: settings.cluster,
    MCLI_NODE: node,
    MCLI_NODE_GPUS: settings.gpus,
    MCLI_NODE_GPU_TYPE: settings.gpuType,
    MCLI_NODE_CPU_SLOTS: settings.cpuSlots,
    // All nodes are this machine, whose network a gang uses.
    MCLI_NODE_ADDRESS: LOOPBACK,
    // The one machine of a local stack may use the images it has built; a cluster's nodes always ask the registry.
    MCLI_NODE_ALLOW_LOCAL_IMAGES: 1,
    MCLI_NODE_CONTAINER_NETWORK: settings.containerNetwork,
    MCLI_NODE_CONTAINER_ENV: JSON.stringify(settings.containerEnv),
    MCLI_NODE_CA_BUNDLE: settings.caBundle,
    // All nodes are this machine: nobody else could go on with its runs, and `mcli down` must not end them.
    MCLI_NODE_WHEN_LEASE_ENDS: 'keep',
    MCLI_NODE_STATE_DIR: path.join(home.nodes, node),
    MCLI_NODE_KEY_FILE: nodeKeyFile(home, settings.cluster),
    DOCKER_HOST: settings.dockerHost,
  }).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)] as const]));
  return worker(home, config, {
    name: `agent-${node}`,
    program: 'node-agent.js',
    code: [],
    taskQueue: nodeQueue(settings.cluster, node),
    serves: 'activities',
    env: Object.fromEntries(given),
  });
}

function worker(
  home: StackHome,
  { ports }: StackConfig,
  options: {
    readonly name: string;
    readonly program: string;
    /** Further files of the build that it runs. */
    readonly code: readonly string[];
    readonly taskQueue: string;
    readonly serves: 'workflows' | 'activities';
    readonly env?: Readonly<Record<string, string>>;
  },
): Part {
  const { name, program, code, taskQueue, serves } = options;
  const command = [process.execPath, '--enable-source-maps', distFile(program)];
  const env = {
    MCLI_HOME: home.root,
    [PART_VARIABLE]: name,
    TEMPORAL_ADDRESS: temporalAddress(ports),
    TEMPORAL_NAMESPACE: NAMESPACE,
    MCLI_NATS_URL: natsUrl(ports),
    ...options.env,
  };
  const texts = [program, ...code].map((file) => contentOf(distFile(file)));
  return {
    name,
    kind: 'worker',
    command,
    env,
    taskQueue,
    serves,
    fingerprint: fingerprint([command, env, texts]),
  };
}

const contentOf = (file: string): string => (existsSync(file) ? readFileSync(file, 'utf8') : '');

function fingerprint(parts: readonly unknown[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
}
