/**
 * The container of one rank: created once, started for the integrations, started again for the command. Both starts
 * share the writable layer and the log. A second attempt of an activity attaches to what it finds; it never starts
 * anything twice.
 */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { CancelledFailure, Context } from '@temporalio/activity';
import { exitFailure } from '../core/failures.ts';
import type { RunFailure } from '../core/failures.ts';
import { containerName } from '../core/naming.ts';
import type { RankRef } from '../core/naming.ts';
import type { RankHeartbeat } from '../core/rank-report.ts';
import { runFailure, stopRequested, whileAttached, whileDockerIsAway } from './attached.ts';
import type { DockerPatience } from './attached.ts';
import { awaitExit } from './await-exit.ts';
import type { CleanUp } from './clean-up.ts';
import { commandFiles, containerConfig, integrationFiles, NO_ADDITIONS } from './container-config.ts';
import type { ContainerAdditions, NodeSettings } from './container-config.ts';
import { END_PATH, ENTRY_PATH, readEnd } from './container-entry.ts';
import type { EndRecord } from './container-entry.ts';
import type { ContainerLogs } from './container-logs.ts';
import type { ContainerExit, NodeActivities, RankAssignment, RankExecution } from './contract.ts';
import type { ContainerFile, ContainerState, Docker } from './docker.ts';
import { DockerError, DockerSilent } from './docker-requests.ts';
import type { IntegrationPlan } from './integrations.ts';
import { planIntegrations } from './integrations.ts';
import type { RankWatch } from './rank-watch.ts';
import { stopContainer } from './stop-container.ts';
import { unlessAborted } from './unless-aborted.ts';

interface Dependencies {
  readonly docker: Docker;
  readonly logs: ContainerLogs;
  readonly settings: NodeSettings;
  /** Looks on while commands run. */
  readonly watch?: RankWatch;
  /** Asked before a container is created, also again for one that was asked for before. */
  readonly additionsFor?: (input: RankExecution) => Promise<ContainerAdditions>;
  /**
   * Resolves when the node may run what it is asked to run: its lease is not about to end, the run is still its own, and
   * its GPUs are free.
   */
  readonly mayStart?: (input: RankExecution, signal: AbortSignal) => Promise<void>;
  /** For how long the control plane had not heard of this node when the guard ended the container; undefined if it did not. */
  readonly unheardMs?: (ref: RankRef) => Promise<number | undefined>;
  /** Called when the container is gone. Must not fail. */
  readonly cleanUp?: CleanUp;
}

type ContainerActivities = Pick<
  NodeActivities,
  'integrations' | 'execute' | 'stop-container' | 'remove-container'
>;

export function createContainerActivities({
  docker,
  logs,
  settings,
  watch,
  additionsFor = async () => NO_ADDITIONS,
  mayStart = async () => undefined,
  unheardMs = async () => undefined,
  cleanUp = async () => undefined,
}: Dependencies): ContainerActivities {
  // Learned from the first container that could not start with them.
  let raiseLimits = true;
  /** Containers that have been told to stop, until they are removed: an order may come before the start. */
  const ordered = new Set<string>();
  const starting = new Map<string, Promise<void>>();
  /** When the attempts to start a container that are under way are over. */
  const turns = new Map<string, Promise<unknown>>();
  return {
    integrations: (input) =>
      whileAttached(async (signal) => {
        const plan = planIntegrations(input.spec.integrations);
        if (plan.script === undefined) return;
        const files = integrationFiles(input, settings, plan.script);
        const phase: Phase = { phase: 'integrations', files, startsAnew: true };
        const exit = await runPhase(input, phase, signal);
        const failure = exitFailure(exit);
        if (failure) throw runFailure({ ...integrationFailure(failure, plan), ...where(input) });
      }),

    execute(input) {
      const earlier = Context.current().info.heartbeatDetails as RankHeartbeat | undefined;
      const watched = watch?.begin(input, earlier);
      return whileAttached(
        (signal) => {
          const work = async (): Promise<ContainerExit> => {
            const phase: Phase = {
              phase: 'command',
              files: commandFiles(input, settings),
              // What the integrations or an earlier attempt did in a container went with it.
              startsAnew: !planIntegrations(input.spec.integrations).script && !earlier?.usage,
            };
            const exit = await runPhase(input, phase, signal);
            // Not awaited: the outcome of the run must not wait for the log; `remove-container` does.
            void logs.close(input, `exit ${exit.exitCode}`);
            return exit;
          };
          return watched ? watched.through(work) : work();
        },
        () => watched?.report(),
      );
    },

    'stop-container': (input) =>
      whileAttached(async () => {
        const name = containerName(input);
        ordered.add(name);
        // What is being started can be stopped a moment later.
        await starting.get(name)?.catch(() => undefined);
        return await stopContainer(docker, name, input.graceMs);
      }),

    'remove-container': (input) =>
      whileAttached(async (signal) => {
        const name = containerName(input);
        const stop = await stopContainer(docker, name, input.graceMs);
        await unlessAborted(logs.close(input, 'removed'), signal);
        await whileDockerIsAway(signal, () => docker.remove(name));
        await cleanUp(input);
        ordered.delete(name);
        return stop;
      }),
  };

  async function runPhase(input: RankExecution, phase: Phase, signal: AbortSignal): Promise<ContainerExit> {
    const name = containerName(input);
    // Asked before the start, which then tells that the daemon has had the time to answer.
    const patience = patienceOfRun();
    try {
      await inTurn(name, signal, () => whileDockerIsAway(signal, () => startOnce(input, phase, signal)));
      logs.follow(input);
      return await exitOf(input, signal, patience);
    } catch (error) {
      if (!signal.aborted || !stopRequested()) throw error;
      const stop = await stopContainer(docker, name, input.graceMs);
      throw new CancelledFailure('The container was stopped.', [stop]);
    }
  }

  /**
   * One attempt at a time. After an agent was frozen, two may overlap, and would take each other's files away and start a
   * command twice.
   */
  async function inTurn(name: string, signal: AbortSignal, step: () => Promise<void>): Promise<void> {
    const before = turns.get(name);
    const attempt = (before ? unlessAborted(before, signal) : Promise.resolve()).then(step);
    const over = Promise.all([before, attempt.catch(() => undefined)]);
    turns.set(name, over);
    await attempt.finally(() => {
      if (turns.get(name) === over) turns.delete(name);
    });
  }

  /** Safe to repeat at any point: what was done already is read from Docker, never remembered. */
  async function startOnce(
    input: RankExecution,
    phase: Phase,
    signal: AbortSignal,
    mayCreateAgain = true,
  ): Promise<void> {
    const name = containerName(input);
    const state = (await docker.inspect(name)) ?? (await create(input, phase, signal));
    if (await wasStarted(name, state, phase.phase, signal)) return;

    const marker = markerFile({ phase: phase.phase, after: state.startedAt });
    await docker.putFiles(name, [...phase.files, marker]).catch(failStart(input));
    await mayStart(input, signal);
    const { status, startedAt } = (await docker.inspect(name)) ?? {};
    // Another agent of this node has done it meanwhile.
    if (status === 'running' || startedAt !== state.startedAt) {
      return await startOnce(input, phase, signal, mayCreateAgain);
    }
    await unlessOrderedToStop(name, signal);
    try {
      const start = docker.start(name);
      starting.set(name, start);
      await start.finally(() => starting.delete(name));
    } catch (error) {
      const isLimit = error instanceof DockerError && /rlimit/.test(error.message);
      if (!mayCreateAgain || !isLimit) return failStart(input)(error);
      raiseLimits = false;
      await docker.remove(name);
      await startOnce(input, phase, signal, false);
    }
  }

  /** Resolves when Docker shows it. */
  async function create(input: RankExecution, phase: Phase, signal: AbortSignal): Promise<ContainerState> {
    if (!phase.startsAnew) throw runFailure(removedFromOutside(input));
    const name = containerName(input);
    const additions = await additionsFor(input).catch(failStart(input));
    const config = containerConfig(input, settings, raiseLimits, additions);
    const deadline = performance.now() + CREATE_AT_MOST_MS;
    for (;;) {
      await unlessOrderedToStop(name, signal);
      await docker.create(config).catch(failStart(input));
      const state = await docker.inspect(name);
      if (state !== undefined) return state;
      // Docker is still at it, for an agent that is gone: the name is taken, and nothing is to be seen yet.
      if (performance.now() > deadline)
        throw new Error(`Docker shows no container ${name}, and makes no other.`);
      await sleep(CREATE_RETRY_MS, undefined, { signal });
    }
  }

  /** Whoever is told to stop before the start waits to hear it from the workflow, too. */
  async function unlessOrderedToStop(name: string, signal: AbortSignal): Promise<void> {
    if (ordered.has(name) && !signal.aborted) await once(signal, 'abort');
    signal.throwIfAborted();
  }

  /**
   * Whether the container was started for this phase. A running container was: the workflow asks for the command only
   * after the integrations have ended. Of a stopped one, the marker says for which phase it was prepared last, and
   * when it had been started before that: has it been started since, then for that phase.
   */
  async function wasStarted(
    name: string,
    state: ContainerState,
    phase: Phase['phase'],
    signal: AbortSignal,
  ): Promise<boolean> {
    if (state.status === 'running') return true;
    if (state.status === 'created') return false;
    const text = await readFile(name, MARKER_PATH, signal);
    if (text === undefined) throw new Error(`${MARKER_PATH} is missing in ${name}: a program removed it.`);
    const marker = JSON.parse(text) as Marker;
    return marker.phase === phase && marker.after !== state.startedAt;
  }

  async function exitOf(
    input: RankExecution,
    signal: AbortSignal,
    patience: DockerPatience,
  ): Promise<ContainerExit> {
    const name = containerName(input);
    try {
      const state = await awaitExit(docker, name, signal, patience);
      const record = isThere(state) ? await readRecord(name, signal, patience) : undefined;
      if (!isThere(state) || record === undefined) throw runFailure(removedFromOutside(input));
      const { exitCode, oomKilled, memoryLimitBytes, startedAt, finishedAt } = state;
      // The init process answers so when there is no bash; bash itself would have left a record.
      if (record.end === 'unseen' && exitCode === 127) throw runFailure(withoutBash(input));
      const unheard = await unheardMs(input);
      return {
        exitCode,
        oomKilled,
        memoryLimitBytes,
        startedAt,
        finishedAt,
        ...record,
        ...(unheard !== undefined && { unheardMs: unheard }),
      };
    } catch (error) {
      if (!(error instanceof DockerError && error.unreachable)) throw error;
      const isKept = patience(error instanceof DockerSilent) === KEPT_PATIENCE_MS;
      throw runFailure(isKept ? withoutAnswer(input) : withoutDaemon(input), error);
    }
  }

  /** @returns undefined when the container goes away meanwhile. */
  async function readRecord(
    name: string,
    signal: AbortSignal,
    patience: DockerPatience,
  ): Promise<EndRecord | undefined> {
    try {
      return readEnd(await readFile(name, END_PATH, signal, patience));
    } catch (error) {
      if (!isThere(await whileDockerIsAway(signal, () => docker.inspect(name), patience))) return undefined;
      throw error;
    }
  }

  /**
   * The text of one of our files; undefined when a program has removed it. A daemon that is going down shows containers
   * that seem to be empty, for some seconds.
   */
  async function readFile(
    name: string,
    path: string,
    signal: AbortSignal,
    patience?: DockerPatience,
  ): Promise<string | undefined> {
    const ask = <T>(step: () => Promise<T>): Promise<T> => whileDockerIsAway(signal, step, patience);
    const deadline = performance.now() + EMPTY_AT_MOST_MS;
    for (;;) {
      const text = await ask(() => docker.readFile(name, path));
      if (text !== undefined || performance.now() > deadline) return text;
      if (await ask(() => docker.fileExists(name, ENTRY_PATH))) return undefined;
      if (!isThere(await ask(() => docker.inspect(name)))) throw new DockerError(`${name} is gone.`, 404);
      await sleep(EMPTY_RETRY_MS, undefined, { signal });
    }
  }

  /** While the container runs. Docker is asked beforehand: who is away does not answer. */
  function patienceOfRun(): DockerPatience {
    let awayMs = KEPT_PATIENCE_MS;
    const learn = async (): Promise<void> => {
      if (!(await docker.keepsContainers())) awayMs = LOST_PATIENCE_MS;
    };
    void learn().catch(() => undefined);
    return (isSilent) => (isSilent ? KEPT_PATIENCE_MS : awayMs);
  }
}

/**
 * Containers run on while their daemon stalls and, with live-restore, for as long as it is away: an upgrade may take
 * minutes.
 */
const KEPT_PATIENCE_MS = 15 * 60_000;
/** Without live-restore they end with the daemon. Longer than it takes to hang up by mistake. */
const LOST_PATIENCE_MS = 5_000;
/** Docker sets up the file system of a large image. */
const CREATE_AT_MOST_MS = 60_000;
const CREATE_RETRY_MS = 300;
/** A daemon ends its containers within 10 s. */
const EMPTY_AT_MOST_MS = 20_000;
const EMPTY_RETRY_MS = 300;

interface Phase {
  readonly phase: 'integrations' | 'command';
  readonly files: readonly ContainerFile[];
  /** Whether it may begin in a new container. */
  readonly startsAnew: boolean;
}

interface Marker {
  readonly phase: Phase['phase'];
  /** When the container had been started last, at the time the phase was prepared. */
  readonly after: string;
}

/** Outside of the directories that programs use, so that none removes it by accident. */
const MARKER_PATH = '/.mcli-phase';

function markerFile(marker: Marker): ContainerFile {
  return { path: MARKER_PATH, content: JSON.stringify(marker) };
}

function isThere(state: ContainerState | undefined): state is ContainerState {
  return state !== undefined && state.status !== 'removing';
}

/** Names what it means for the run that its container could not be prepared or started. */
function failStart(input: RankExecution): (error: unknown) => never {
  return (error) => {
    if (error instanceof DockerError && /"bash": executable file not found/.test(error.message)) {
      throw runFailure(withoutBash(input), error);
    }
    const target = error instanceof DockerError ? refusedMount(error) : undefined;
    if (target !== undefined) throw runFailure(withFileInTheWay(input, target), error);
    if (!(error instanceof Error && isDiskFull(error))) throw error;
    const message = `The container could not start, because the disk of the node is full: ${error.message}.`;
    throw runFailure({ type: 'NodeDiskFull', message, ...where(input) }, error);
  };
}

/** Where a folder of secrets cannot be mounted. What mcli mounts itself is in folders of its own. */
function refusedMount({ message }: DockerError): string | undefined {
  const target = REFUSED_MOUNT.exec(message)
    ?.slice(1)
    .find((path) => path !== undefined);
  return target?.startsWith('/mnt/') ? undefined : target;
}

/** When it starts a container; and when it puts files into one. */
const REFUSED_MOUNT =
  /error mounting "[^"]*" to rootfs at "([^"]*)"|mount [^,]*\/merged(\/[^,]*), flags: \w+: not a directory/;

function withFileInTheWay(input: RankExecution, target: string): RunFailure {
  return {
    type: 'SecretUnreadable',
    message: `A secret cannot be mounted at ${target}: image ${input.spec.image} has something else there than a folder.`,
    ...where(input),
  };
}

/** In the words of Docker, or as a system error of the agent's own. */
function isDiskFull(error: Error): boolean {
  return /no space left on device/.test(error.message) || (error as NodeJS.ErrnoException).code === 'ENOSPC';
}

function withoutBash(input: RankExecution): RunFailure {
  return {
    type: 'ImageWithoutBash',
    message: `Image ${input.spec.image} has no bash, which runs the command.`,
    ...where(input),
  };
}

function withoutDaemon(input: RankExecution): RunFailure {
  return {
    type: 'ContainerStopped',
    message: `The container was ended from outside: the Docker daemon of ${input.node} went away, which keeps no containers without \`live-restore\`.`,
    ...where(input),
  };
}

/** It may run, and is told to stop when the daemon is back. */
function withoutAnswer(input: RankExecution): RunFailure {
  return {
    type: 'DockerError',
    message: `Docker on ${input.node} has not answered for ${KEPT_PATIENCE_MS / 60_000} min: nobody knows how the container is.`,
    ...where(input),
  };
}

function removedFromOutside(input: RankExecution): RunFailure {
  return {
    type: 'ContainerStopped',
    message: 'The container was ended from outside: it was removed, as by `docker rm`.',
    ...where(input),
  };
}

/** What the end of the integrations means, from what the end of a command would mean. */
function integrationFailure(failure: RunFailure, plan: IntegrationPlan): RunFailure {
  const { exitCode } = failure;
  if (exitCode === undefined || failure.type === 'OutOfMemory') return failure;
  return { type: 'IntegrationFailed', message: plan.describeFailure(exitCode), exitCode };
}

function where(input: RankAssignment): Pick<RunFailure, 'rank' | 'node'> {
  return { rank: input.rank, node: input.node };
}
