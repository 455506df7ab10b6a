/**
 * The container of one rank: created once, started for the integrations, started again for the command. Both starts
 * share the writable layer and the log. A second attempt of an activity attaches to what it finds; it never starts
 * anything twice.
 */
import { CancelledFailure } from '@temporalio/activity';
import type { RunFailure } from '../core/failures.ts';
import { containerName } from '../core/naming.ts';
import type { RankRef } from '../core/naming.ts';
import { runFailure, stopRequested, whileAttached, whileDockerIsAway } from './attached.ts';
import { commandFiles, containerConfig, integrationFiles, NO_ADDITIONS } from './container-config.ts';
import type { ContainerAdditions, NodeSettings } from './container-config.ts';
import type { ContainerLogs } from './container-logs.ts';
import type { ContainerExit, NodeActivities, RankAssignment, RankExecution } from './contract.ts';
import type { ContainerFile, ContainerState, Docker } from './docker.ts';
import { DockerError } from './docker.ts';
import type { IntegrationPlan } from './integrations.ts';
import { planIntegrations } from './integrations.ts';
import { stopContainer } from './stop-container.ts';

interface Dependencies {
  readonly docker: Docker;
  readonly logs: ContainerLogs;
  readonly settings: NodeSettings;
  /** Asked before a container is created, also again for one that was asked for before. */
  readonly additionsFor?: (input: RankExecution) => Promise<ContainerAdditions>;
  /** Called when the container is gone, perhaps more than once. */
  readonly released?: (ref: RankRef) => Promise<void>;
}

type ContainerActivities = Pick<
  NodeActivities,
  'integrations' | 'execute' | 'stop-container' | 'remove-container'
>;

export function createContainerActivities({
  docker,
  logs,
  settings,
  additionsFor = async () => NO_ADDITIONS,
  released = async () => undefined,
}: Dependencies): ContainerActivities {
  // Learned from the first container that could not start with them.
  let raiseLimits = true;
  return {
    integrations: (input) =>
      whileAttached(async (signal) => {
        const plan = planIntegrations(input.spec.integrations);
        if (plan.script === undefined) return;
        const files = integrationFiles(input, settings, plan.script);
        const exit = await runPhase(input, { phase: 'integrations', files }, signal);
        if (exit.exitCode !== 0) throw runFailure(integrationFailure(input, exit, plan));
      }),

    execute: (input) =>
      whileAttached(async (signal) => {
        const phase: Phase = { phase: 'command', files: commandFiles(input, settings) };
        const exit = await runPhase(input, phase, signal);
        // Not awaited: the outcome of the run must not wait for the log; `remove-container` does.
        void logs.close(input, `exit ${exit.exitCode}`);
        return exit;
      }),

    'stop-container': (input) =>
      whileAttached(() => stopContainer(docker, containerName(input), input.graceMs)),

    'remove-container': (input) =>
      whileAttached(async (signal) => {
        const name = containerName(input);
        const stop = await stopContainer(docker, name, input.graceMs);
        await abortable(signal, logs.close(input, 'removed'));
        await whileDockerIsAway(signal, () => docker.remove(name));
        await released(input);
        return stop;
      }),
  };

  async function runPhase(input: RankExecution, phase: Phase, signal: AbortSignal): Promise<ContainerExit> {
    const name = containerName(input);
    try {
      await whileDockerIsAway(signal, () => startOnce(input, phase, signal));
      logs.follow(input);
      return await exitOf(input, signal);
    } catch (error) {
      if (!signal.aborted || !stopRequested()) throw error;
      const stop = await stopContainer(docker, name, input.graceMs);
      throw new CancelledFailure('The container was stopped.', [stop]);
    }
  }

  /** Safe to repeat at any point: what was done already is read from Docker, never remembered. */
  async function startOnce(input: RankExecution, phase: Phase, signal: AbortSignal): Promise<void> {
    const name = containerName(input);
    let state = await docker.inspect(name);
    if (state === undefined) {
      signal.throwIfAborted();
      const additions = await additionsFor(input);
      signal.throwIfAborted();
      await docker.create(containerConfig(input, settings, raiseLimits, additions));
      state = await docker.inspect(name);
    }
    if (state === undefined) throw new Error(`Container ${name} vanished while it was being created.`);
    if (await wasStarted(name, state, phase.phase)) return;

    signal.throwIfAborted();
    await docker.putFiles(name, [...phase.files, markerFile({ phase: phase.phase, after: state.startedAt })]);
    try {
      await docker.start(name);
    } catch (error) {
      if (!raiseLimits || !(error instanceof DockerError && /rlimit/.test(error.message))) {
        throw startFailure(input, error);
      }
      raiseLimits = false;
      await docker.remove(name);
      await startOnce(input, phase, signal);
    }
  }

  /**
   * Whether the container was started for this phase. A running container was: the workflow asks for the command only
   * after the integrations have ended. Of a stopped one, the marker says for which phase it was prepared last, and
   * when it had been started before that: has it been started since, then for that phase.
   */
  async function wasStarted(name: string, state: ContainerState, phase: Phase['phase']): Promise<boolean> {
    if (state.status === 'running') return true;
    if (state.status === 'created') return false;
    const text = await docker.readFile(name, MARKER_PATH);
    if (text === undefined) throw new Error(`${MARKER_PATH} is missing in ${name}: a program removed it.`);
    const marker = JSON.parse(text) as Marker;
    return marker.phase === phase && marker.after !== state.startedAt;
  }

  async function exitOf(input: RankExecution, signal: AbortSignal): Promise<ContainerExit> {
    const name = containerName(input);
    let daemonWasAway = false;
    const state = await whileDockerIsAway(signal, async () => {
      try {
        await docker.waitForExit(name, signal);
        return await docker.inspect(name);
      } catch (error) {
        daemonWasAway = error instanceof DockerError && error.unreachable;
        throw error;
      }
    });
    if (state === undefined)
      throw new DockerError(`Container ${name} was removed behind the agent's back.`, 404);
    if (daemonWasAway && state.exitCode >= 128) {
      throw new DockerError(`The daemon was restarted and ended container ${name} (${state.exitCode}).`, 500);
    }
    if (state.exitCode === 127 && !(await hasBash(name, state))) throw runFailure(withoutBash(input));
    const { exitCode, oomKilled, startedAt, finishedAt } = state;
    return { exitCode, oomKilled, startedAt, finishedAt };
  }

  /** The init process exits with 127 when there is no bash, as bash does for an unknown command. */
  async function hasBash(name: string, state: ContainerState): Promise<boolean> {
    const path =
      state.env.find((variable) => variable.startsWith('PATH='))?.slice('PATH='.length) ?? '/bin:/usr/bin';
    for (const directory of path.split(':')) {
      if (await docker.fileExists(name, `${directory}/bash`)) return true;
    }
    return false;
  }
}

interface Phase {
  readonly phase: 'integrations' | 'command';
  readonly files: readonly ContainerFile[];
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

function startFailure(input: RankExecution, error: unknown): unknown {
  const missing = error instanceof DockerError && /"bash": executable file not found/.test(error.message);
  return missing ? runFailure(withoutBash(input), error) : error;
}

function withoutBash(input: RankExecution): RunFailure {
  return {
    type: 'ImageWithoutBash',
    message: `Image ${input.spec.image} has no bash, which runs the command.`,
    ...where(input),
  };
}

function integrationFailure(input: RankExecution, exit: ContainerExit, plan: IntegrationPlan): RunFailure {
  if (exit.oomKilled) {
    return { type: 'OutOfMemory', message: 'The integrations ran out of memory.', ...where(input) };
  }
  const message = plan.describeFailure(exit.exitCode);
  return { type: 'IntegrationFailed', message, exitCode: exit.exitCode, ...where(input) };
}

function where(input: RankAssignment): Pick<RunFailure, 'rank' | 'node'> {
  return { rank: input.rank, node: input.node };
}

/** Stops waiting when the signal aborts; the work itself goes on. */
async function abortable(signal: AbortSignal, work: Promise<void>): Promise<void> {
  signal.throwIfAborted();
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(new DOMException('Aborted', 'AbortError'));
  signal.addEventListener('abort', abort, { once: true });
  try {
    await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
