/** Real Docker for tests: runs of their own name, all of whose containers are removed afterwards. */
import { randomBytes } from 'node:crypto';
import type { NatsConnection } from '@nats-io/transport-node';
import { jetstreamManager } from '@nats-io/jetstream';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { onTestFinished } from 'vitest';
import type { NodeSettings } from '../../activities/container-config.ts';
import { createContainerLogs, dockerLogOptions } from '../../activities/container-logs.ts';
import type { ContainerLogs } from '../../activities/container-logs.ts';
import { createContainerActivities } from '../../activities/container.ts';
import type { RankExecution } from '../../activities/contract.ts';
import { createDocker } from '../../activities/docker.ts';
import { createLogStream } from '../../activities/log-stream.ts';
import type { LogEntry } from '../../core/log-entries.ts';
import { decodeLogEntries, LOG_HEADERS } from '../../core/log-entries.ts';
import type { RankRef } from '../../core/naming.ts';
import { containerName, LOG_STREAM, logSubject } from '../../core/naming.ts';
import type { RunSpec } from '../../core/run-spec.ts';

export const docker = createDocker(process.env['DOCKER_HOST']);

/** A run of one rank with a name that no other test uses. */
export function aRank(command: string, spec: Partial<RunSpec> = {}): RankExecution {
  const run = `test-${randomBytes(5).toString('hex')}`;
  return {
    run,
    resumption: 0,
    rank: 0,
    cluster: 'test',
    node: 'test-node',
    fence: 1,
    user: 'tester',
    gpuIds: [],
    numNodes: 1,
    localWorldSize: 0,
    worldSize: 0,
    masterAddress: 'test-node',
    graceMs: 5_000,
    spec: {
      name: run,
      image: 'mcli/starter',
      command,
      compute: {},
      scheduling: { priority: 'medium', preemptible: false, maxRetries: 0, retryOnSystemFailure: true },
      integrations: [],
      envVariables: {},
      parametersYaml: 'lr: 1e-4\n',
      metadata: {},
      ...spec,
    },
  };
}

/** One that gets a container: it is removed after the test. */
export function aRankToRun(
  command: string,
  spec: Partial<RunSpec> = {},
  more: Partial<RankExecution> = {},
): RankExecution {
  const rank = { ...aRank(command, spec), ...more };
  onTestFinished(() => docker.remove(containerName(rank)));
  return rank;
}

/** A rank whose container runs as an agent makes it, as far as logs are concerned. */
export async function aLoggedRank(command: string, maxBytes = SETTINGS.logLimitBytes): Promise<RankRef> {
  const rank = aRankToRun(command);
  await docker.create({
    name: containerName(rank),
    Image: 'bash',
    Cmd: ['bash', '-c', command],
    HostConfig: { LogConfig: dockerLogOptions(maxBytes) },
  });
  await docker.start(containerName(rank));
  return rank;
}

export const SETTINGS: NodeSettings = {
  controlPlane: 'test',
  inventory: { node: 'test-node', gpuType: null, gpus: 0, cpuSlots: 2, address: 'test-node' },
  attachGpus: false,
  containerNetwork: 'bridge',
  containerEnv: {},
  memoryBytes: 1024 ** 3,
  maxPids: 1_000,
  logLimitBytes: 64 * 1024 ** 2,
};

/** One life of a node agent: its activities with a log shipper of their own. */
export function anAgent(
  connection: NatsConnection,
  settings: Partial<NodeSettings> = {},
  more: Partial<Parameters<typeof createContainerActivities>[0]> = {},
) {
  const logs = aLogShipper(connection);
  return createContainerActivities({ docker, logs, settings: { ...SETTINGS, ...settings }, ...more });
}

export function aLogShipper(
  connection: NatsConnection,
  settings: Partial<Parameters<typeof createContainerLogs>[0]> = {},
): ContainerLogs {
  const stream = createLogStream(Promise.resolve(connection));
  return createContainerLogs({
    docker,
    stream,
    secretsOf: () => Promise.resolve([]),
    maxBytes: SETTINGS.logLimitBytes,
    ...settings,
  });
}

/** The platform around one attempt of an activity; quiet, since failures are what many tests want. */
export function anAttempt(
  info: ConstructorParameters<typeof MockActivityEnvironment>[0] = {},
): MockActivityEnvironment {
  return new MockActivityEnvironment(info, { logger: new DefaultLogger('ERROR') });
}

/** How the workflow orders a stop, and how the platform takes an activity away without one. */
export function stop(environment: MockActivityEnvironment): void {
  environment.cancel('CANCELLED', details({ cancelRequested: true }));
}

export function shutDown(environment: MockActivityEnvironment): void {
  environment.cancel('WORKER_SHUTDOWN', details({ workerShutdown: true }));
}

/** How the platform says that the workflow was terminated. */
export function vanish(environment: MockActivityEnvironment): void {
  environment.cancel('NOT_FOUND', details({ notFound: true }));
}

type Details = NonNullable<Parameters<MockActivityEnvironment['cancel']>[1]>;

function details(reason: Partial<Details>): Details {
  const none = { notFound: false, cancelRequested: false, paused: false, timedOut: false };
  return { ...none, workerShutdown: false, reset: false, ...reason };
}

export async function containerOf(ref: RankRef) {
  return docker.inspect(containerName(ref));
}

export interface ShippedLog {
  readonly entries: readonly LogEntry[];
  readonly text: string;
  /** Reasons of all end markers: one, when all is well. */
  readonly ends: readonly string[];
}

/** The whole log of a rank as the stream has it. @throws Error when a message does not follow its predecessor. */
export async function shippedLog(connection: NatsConnection, ref: RankRef): Promise<ShippedLog> {
  const manager = await jetstreamManager(connection);
  const entries: LogEntry[] = [];
  const ends: string[] = [];
  for (let seq = 1; ;) {
    const message = await manager.direct.getMessage(LOG_STREAM, { seq, next_by_subj: logSubject(ref) });
    if (message === null) break;
    const first = Number(message.header.get(LOG_HEADERS.firstEntry));
    if (first !== entries.length) throw new Error(`message begins at ${first}, not at ${entries.length}`);
    entries.push(...decodeLogEntries(message.data));
    if (message.header.has(LOG_HEADERS.end)) ends.push(message.header.get(LOG_HEADERS.end));
    seq = message.seq + 1;
  }
  const text = Buffer.concat(entries.map(({ bytes }) => bytes)).toString();
  return { entries, text, ends };
}

/** Asks until the answer is right; the last answer is in the error when it never is. */
export async function eventually<T>(
  ask: () => Promise<T>,
  isRight: (answer: T) => boolean,
  withinMs = 20_000,
): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const answer = await ask();
    if (isRight(answer)) return answer;
    if (Date.now() > deadline) throw new Error(`never became right: ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}
