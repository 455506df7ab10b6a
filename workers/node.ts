/**
 * The node agent: one per machine with Docker, a worker on the node's own task queue. It holds nothing that it could
 * not find again in Docker, Temporal and NATS: it may be killed and started at any time, and runs go on.
 */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import type { NatsConnection } from '@nats-io/transport-node';
import { Client, WorkflowNotFoundError } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import {
  DefaultLogger,
  makeTelemetryFilterString,
  NativeConnection,
  Runtime,
  Worker,
} from '@temporalio/worker';
import { reportAbandoned } from '../activities/abandoned-runs.ts';
import { cleanUpAll } from '../activities/clean-up.ts';
import { joinAdditions } from '../activities/container-config.ts';
import type { NodeSettings } from '../activities/container-config.ts';
import { createContainerLogs } from '../activities/container-logs.ts';
import { createContainerActivities } from '../activities/container.ts';
import type { RankExecution } from '../activities/contract.ts';
import { createContainerTracker } from '../activities/container-tracker.ts';
import { createDiskKeeper, createDiskMeter } from '../activities/disk.ts';
import { createDocker } from '../activities/docker.ts';
import type { Docker } from '../activities/docker.ts';
import { createGpuGate } from '../activities/gpu-gate.ts';
import { createGpuMonitor } from '../activities/gpu-monitor.ts';
import { untilConfirmed } from '../activities/heartbeat.ts';
import { createImageActivities } from '../activities/image.ts';
import { createImageLedger } from '../activities/image-ledger.ts';
import { createLogStream } from '../activities/log-stream.ts';
import { createMetricFeed } from '../activities/metric-feed.ts';
import { createNodeHealth } from '../activities/node-health.ts';
import { createNodeService } from '../activities/node-service.ts';
import type { NodeService } from '../activities/node-service.ts';
import { createNvidiaSmi } from '../activities/nvidia-smi.ts';
import type { NvidiaSmi } from '../activities/nvidia-smi.ts';
import { createOrphanKeeper } from '../activities/orphans.ts';
import type { OrphanKeeper } from '../activities/orphans.ts';
import { createProgressFiles } from '../activities/progress-files.ts';
import { createRankWatch } from '../activities/rank-watch.ts';
import { repeatedly } from '../activities/repeatedly.ts';
import { readRun } from '../activities/run-report.ts';
import { createTrackerVariables } from '../activities/tracker-variables.ts';
import { createTrackerActivities, REPORTS_AT_A_TIME } from '../activities/trackers.ts';
import type { NodeInventory } from '../core/cluster.ts';
import {
  CLUSTER_QUEUE,
  clusterWorkflowId,
  controlPlaneId,
  NAMESPACE,
  nodeQueue,
  nodeWorkflowId,
  WORKFLOW_TYPES,
} from '../core/naming.ts';
import type { RankRef } from '../core/naming.ts';
import { announceReady, watchParent } from '../stack/parent-watch.ts';
import { clusterNodesQuery, registerNodeSignal } from '../workflows/messages.ts';
import { createGuardNotes } from './guard-notes.ts';
import { keepGuard } from './keep-guard.ts';
import { refuseRunsOfAnother } from './former-node.ts';
import { readNodeConfig } from './node-config.ts';
import type { NodeConfig } from './node-config.ts';
import { detectGpus } from './node-gpus.ts';
import { createLeaseKeeper } from './lease-keeper.ts';
import type { LeaseKeeper } from './lease-keeper.ts';
import { leaveWhenTold } from './leave-when-told.ts';
import { uptimeMs } from './node-lease.ts';
import { connectToNats } from './nats-connection.ts';
import { openNodeSecrets } from './node-secrets.ts';
import { patiently } from './patiently.ts';

/** A registry that says nothing for this long counts as unreachable. */
const PULL_IDLE_MS = 120_000;
/** Longer than the node workflow takes to ask for the agent again after a restart. */
const REGISTER_AGAIN_MS = 5_000;
const REGISTER_AGAIN_AT_MOST_MS = 60_000;
/** How often a node in service looks whether its cluster is still there. */
const LOOK_AT_CLUSTER_MS = 20_000;
const REQUEST_TIMEOUT_MS = 5_000;
const SWEEP_INTERVAL_MS = 15 * 60_000;
/** This process, and none after it. */
const AGENT = randomUUID();
/** Where the SDK looks when nothing names an address. */
const DEFAULT_TEMPORAL_ADDRESS = '127.0.0.1:7233';
/** What the machine keeps for itself when one run takes all memory it can get. */
const RESERVED_MEMORY_SHARE = 0.05;
const RESERVED_MEMORY_BYTES = 1024 ** 3;
/** Processes and threads: more than any training needs. */
const MAX_PIDS = 32_768;

await serveNode(readNodeConfig(process.env));

/** Runs until SIGTERM or SIGINT; servers that are away are waited for. */
async function serveNode(config: NodeConfig): Promise<void> {
  Runtime.install({
    // Failed commands and detached activities are warnings to the SDK, and everyday life here.
    logger: new DefaultLogger('ERROR'),
    telemetryOptions: { logging: { filter: makeTelemetryFilterString({ core: 'ERROR', other: 'ERROR' }) } },
  });
  const stay = leaveWhenTold();
  watchParent();
  const { connectionOptions, namespace = NAMESPACE } = loadClientConnectConfig();
  const controlPlane = controlPlaneId(connectionOptions.address ?? DEFAULT_TEMPORAL_ADDRESS, namespace);
  const lease = createLeaseKeeper(config, controlPlane);
  const closing = new AbortController();
  // Before anything is waited for: a predecessor may have died together with its guard while the node is cut off.
  if (config.leaseMs !== null) void keepGuard(config.stateDirectory, closing.signal);
  const docker = createDocker(config.dockerHost);
  const nvidiaSmi = createNvidiaSmi();
  const { cluster, node, stateDirectory } = config;
  const place = { controlPlane, cluster, node };
  const settings = await nodeSettings(config, controlPlane, docker, nvidiaSmi);
  await patiently('the node that this machine was before', () =>
    refuseRunsOfAnother({ stateDirectory, docker, place }),
  );
  // It speaks to the trackers of runs, which may have certificates like everything else there.
  if (settings.caBundle !== undefined) {
    tls.setDefaultCACertificates([...tls.getCACertificates('default'), settings.caBundle]);
  }
  const gpus = createGpuMonitor(nvidiaSmi);
  const { dockerHost, diskHighPercent: highPercent } = config;
  const disk = createDiskMeter({ docker, dockerHost, highPercent });
  const images = createImageLedger({ docker, stateDirectory });
  const progress = createProgressFiles(stateDirectory);
  const guardNotes = createGuardNotes(stateDirectory);
  const nodeHealth = createNodeHealth({
    docker,
    disk,
    leaseError: () => lease.error(),
    ...(settings.attachGpus &&
      settings.inventory.gpus > 0 && { gpus: { monitor: gpus, offered: settings.inventory.gpus } }),
  });
  const connecting = Promise.withResolvers<Client>();
  const service = createNodeService({
    temporal: () => connecting.promise,
    health: () => nodeHealth.health(),
    onAcknowledged: (sentAt) => lease.renew(sentAt),
    now: uptimeMs,
  });
  const nats = connectToNats(config);
  void untilClosed(nats).then(() => process.exit(1));
  const secrets = await openNodeSecrets({
    config,
    controlPlane,
    nats,
    docker,
    isInCluster: async () => await isInCluster(await connecting.promise, config),
  });
  const variablesOf = createTrackerVariables({
    secretVariables: (user, own, signal) => secrets.variablesFor(user, own, signal),
    containerEnv: config.containerEnv,
  });
  const feed = createMetricFeed({ variablesOf });
  const secretsOf = (ref: RankRef): Promise<readonly string[] | undefined> => secrets.maskedFor(ref);
  const watch = createRankWatch({
    docker,
    progress,
    secretsOf,
    feed,
    ...(settings.attachGpus && { gpus }),
  });
  const logs = createContainerLogs({
    docker,
    stream: createLogStream(nats),
    secretsOf,
    maxBytes: config.logLimitBytes,
  });
  const untilGpusAreFree = createGpuGate({ docker, place });
  const cleanUp = cleanUpAll([
    (ref) => images.released(ref),
    (ref) => progress.remove(ref),
    (ref) => guardNotes.remove(ref),
    (ref) => secrets.released(ref),
  ]);
  const mayStart = async (input: RankExecution, signal: AbortSignal): Promise<void> => {
    await untilGpusAreFree(input, signal);
    // A node that was cut off has its lease back before its activities have heard that others do their work.
    do {
      await lease.untilFresh(signal);
      await untilConfirmed(await connecting.promise, signal);
    } while (!lease.isFresh());
  };
  const runDetails = async (run: string) => await readRun(await connecting.promise, run);
  const activities = {
    ...service.activities,
    ...createImageActivities({
      docker,
      images,
      authFor: (input) => secrets.authFor(input),
      allowLocalImages: config.allowLocalImages,
      pullIdleMs: PULL_IDLE_MS,
    }),
    ...createContainerActivities({
      docker,
      logs,
      settings,
      watch,
      additionsFor: async (input) =>
        joinAdditions(await secrets.additionsFor(input), await progress.additions(input)),
      mayStart,
      unheardMs: (ref) => guardNotes.unheardMs(ref),
      cleanUp,
    }),
    ...createContainerTracker({ docker, runDetails, secretsOf, mayStart }),
    ...createTrackerActivities({
      runDetails,
      variablesOf,
      secretsOf: (user, signal) => secrets.textsFor(user, signal),
    }),
  };
  const connection = await patiently('Temporal', () => NativeConnection.connect(connectionOptions));
  const client = new Client({ connection, namespace });
  connecting.resolve(client);
  const orphans = createOrphanKeeper({
    docker,
    logs,
    cleanUp: async (ref) => {
      await cleanUp(ref);
      // Ranks of a gang would all say the same. Not awaited: its capacity is about to be given back.
      if (ref.rank === 0) void reportAbandoned(client, { run: ref.run, cluster, node });
    },
    temporal: client,
    place,
  });
  const worker = await Worker.create({
    connection,
    namespace,
    activities,
    interceptors: { activity: [orphans.interceptors] },
    taskQueue: nodeQueue(config.cluster, config.node),
    // The cluster decides how many runs come; twice their number leaves room for those that are being removed.
    maxConcurrentActivityTaskExecutions:
      2 * (settings.inventory.gpus + settings.inventory.cpuSlots) + 4 + REPORTS_AT_A_TIME,
    // Every poller of every node is a long poll at the server, which has a limit.
    maxConcurrentActivityTaskPolls: 2,
    // The answer to a heartbeat carries the order to stop: this is how late it may come.
    maxHeartbeatThrottleInterval: '1s',
    shutdownForceTime: '10s',
  });
  const registration = { config, inventory: settings.inventory, client, service, lease, orphans };
  void keepRegistered(registration, closing.signal);
  void repeatedly(LOOK_AT_CLUSTER_MS, closing.signal, async () => {
    // Temporal is away: the next time is soon enough.
    if (service.inService() && (await isClusterGone(client, cluster))) {
      await register(registration).catch(() => undefined);
    }
  });
  void orphans.watch(closing.signal);
  void nodeHealth.watch(closing.signal);
  void secrets.watch(closing.signal);
  const isThere = async (container: string) => (await docker.inspect(container)) !== undefined;
  void repeatedly(SWEEP_INTERVAL_MS, closing.signal, () =>
    // Docker is away: the next time is soon enough.
    Promise.allSettled([secrets.sweep(), progress.sweep(isThere), guardNotes.sweep(isThere)]),
  );
  void createDiskKeeper({ ledger: images, measure: disk }).watch(closing.signal);
  const running = worker.run();
  stay();
  await running;
  closing.abort();
  // NATS and unfinished log passes would keep the process; all they know is in Docker and in the stream.
  process.exit();
}

/** What cannot be told yet is waited for. */
async function nodeSettings(
  config: NodeConfig,
  controlPlane: string,
  docker: Docker,
  nvidiaSmi: NvidiaSmi,
): Promise<NodeSettings> {
  const { caBundlePath } = config;
  const gpus = config.declaredGpus ?? (await patiently('nvidia-smi', () => detectGpus(nvidiaSmi)));
  const { memoryBytes } = await patiently('Docker', () => docker.machine());
  const reserved = Math.max(memoryBytes * RESERVED_MEMORY_SHARE, RESERVED_MEMORY_BYTES);
  return {
    controlPlane,
    inventory: {
      node: config.node,
      gpuType: gpus?.type ?? null,
      gpus: gpus?.count ?? 0,
      cpuSlots: config.cpuSlots,
      address: config.address,
      leaseMs: config.leaseMs,
    },
    attachGpus: config.declaredGpus === undefined,
    containerNetwork: config.containerNetwork,
    containerEnv: config.containerEnv,
    memoryBytes: config.containerMemoryBytes ?? Math.floor(memoryBytes - reserved),
    maxPids: await maxPidsOfContainer(),
    logLimitBytes: config.logLimitBytes,
    ...(caBundlePath !== undefined && {
      caBundle: await patiently('certificates', () => readFile(caBundlePath, 'utf8')),
    }),
  };
}

/** A share of what the kernel has: a run that starts processes without end must leave some to the others. */
async function maxPidsOfContainer(): Promise<number> {
  const text = await readFile('/proc/sys/kernel/pid_max', 'utf8').catch(() => '');
  return Math.min(MAX_PIDS, Math.floor((Number.parseInt(text, 10) || MAX_PIDS) / 4));
}

async function isInCluster(client: Client, { cluster, node }: NodeConfig): Promise<boolean> {
  const handle = client.workflow.getHandle(clusterWorkflowId(cluster));
  const nodes = await client.withDeadline(Date.now() + REQUEST_TIMEOUT_MS, () =>
    handle.query(clusterNodesQuery),
  );
  return nodes.some((known) => known.node === node);
}

/** Resolves when the connection is closed for good: the next agent makes another. Never, when there was none. */
async function untilClosed(connecting: Promise<NatsConnection>): Promise<void> {
  const connection = await connecting.catch(() => undefined);
  if (connection === undefined) return await new Promise(() => undefined);
  const error = await connection.closed();
  console.error(`The connection to NATS was closed: ${String(error)}`);
}

interface Registration {
  readonly config: NodeConfig;
  readonly inventory: NodeInventory;
  readonly client: Client;
  readonly service: NodeService;
  readonly lease: LeaseKeeper;
  readonly orphans: OrphanKeeper;
}

async function register({ config: { cluster, node }, inventory, client }: Registration): Promise<void> {
  await client.withDeadline(Date.now() + REQUEST_TIMEOUT_MS, () =>
    client.workflow.signalWithStart(WORKFLOW_TYPES.node, {
      workflowId: nodeWorkflowId(cluster, node),
      taskQueue: CLUSTER_QUEUE,
      args: [{ cluster, node }],
      signal: registerNodeSignal,
      signalArgs: [inventory, AGENT],
    }),
  );
}

/** Somebody may have ended its workflow; it is started anew by the next node that reports to it. */
async function isClusterGone(client: Client, cluster: string): Promise<boolean> {
  const handle = client.workflow.getHandle(clusterWorkflowId(cluster));
  try {
    const { status } = await client.withDeadline(Date.now() + REQUEST_TIMEOUT_MS, () => handle.describe());
    return status.name !== 'RUNNING';
  } catch (error) {
    return error instanceof WorkflowNotFoundError;
  }
}

/**
 * Tells the node's workflow of this agent, and again whenever nobody asks for it: the workflow gives a node up after
 * an outage, and waits for the agent's next word. Before that word, what went on elsewhere meanwhile is stopped here.
 */
async function keepRegistered(registration: Registration, signal: AbortSignal): Promise<void> {
  const { service, lease, orphans } = registration;
  let waitMs = REGISTER_AGAIN_MS;
  while (!signal.aborted) {
    if (!service.inService()) {
      await patiently('Temporal', async () => {
        // Asked anew each time: Temporal may have been away for the length of a lease.
        if (lease.mayBeLost()) await patiently('the end of what went on elsewhere', () => orphans.settle());
        await register(registration);
      });
      announceReady();
    }
    const pause = new AbortController();
    await Promise.race([
      sleep(waitMs, undefined, { signal: AbortSignal.any([signal, pause.signal]) }).catch(() => undefined),
      service.untilOut(pause.signal),
    ]);
    pause.abort();
    // Two agents of one name would take the node from each other for ever: ever more slowly, at least.
    waitMs = service.inService() ? REGISTER_AGAIN_MS : Math.min(2 * waitMs, REGISTER_AGAIN_AT_MOST_MS);
  }
}
