/**
 * Everything that can end a resumption before its command has returned 0, as a closed table. The table alone decides
 * what the user reads, and whether the platform or the user is to blame: system failures are retried by themselves.
 */
import type { TerminalStatus } from './run-status.ts';

/** Who has to act: `system` is retried elsewhere, `user` only up to `max_retries`, `order` was asked for. */
export type Blame = 'system' | 'user' | 'order';

interface FailureClass {
  readonly status: Exclude<TerminalStatus, 'COMPLETED'>;
  /** One word for tables and filters: `Failed (FailedPull)`. */
  readonly reason: string;
  readonly blame: Blame;
  /** What to do next; absent where the message says it all. */
  readonly hint?: string;
  /** True when it speaks against the node: after several in a row, nothing new starts there. */
  readonly nodeAtFault?: true;
}

const SECRET_HINT =
  'Create a registry secret with `mcli create secret docker`, and check that it may read this image.';

export const FAILURES = {
  ImageNotFound: {
    status: 'FAILED',
    reason: 'FailedPull',
    blame: 'user',
    hint: `Check the image name and tag. If the image is private: ${SECRET_HINT}`,
  },
  ImageUnauthorized: { status: 'FAILED', reason: 'FailedPull', blame: 'user', hint: SECRET_HINT },
  ImageWrongPlatform: {
    status: 'FAILED',
    reason: 'FailedPull',
    blame: 'user',
    hint: 'Build the image for the platform of the node, for instance with `docker build --platform linux/amd64`.',
  },
  RegistryUnreachable: {
    status: 'FAILED',
    reason: 'FailedPull',
    blame: 'user',
    hint: 'Check the registry host in the image name, and that the node reaches it. For a private registry: `mcli create secret docker`.',
  },
  RegistryTls: {
    status: 'FAILED',
    reason: 'FailedPull',
    blame: 'user',
    hint: 'The node must trust the certificate of the registry: see /etc/docker/certs.d on the node.',
  },
  RegistryRateLimited: {
    status: 'FAILED',
    reason: 'FailedPull',
    blame: 'system',
    hint: 'Pull with an account: `mcli create secret docker`.',
  },
  PullDiskFull: {
    status: 'FAILED',
    reason: 'FailedPull',
    blame: 'system',
    nodeAtFault: true,
    hint: 'Free disk space on the node, or cordon it.',
  },
  IntegrationFailed: {
    status: 'FAILED',
    reason: 'FailedIntegration',
    blame: 'user',
    hint: 'Its output is in `mcli logs`.',
  },
  NonZeroExit: { status: 'FAILED', reason: 'NonZeroExit', blame: 'user', hint: 'See `mcli logs`.' },
  CommandNotFound: {
    status: 'FAILED',
    reason: 'CommandNotFound',
    blame: 'user',
    hint: 'Check the spelling, and that the image or an integration installs it; `mcli logs` names it.',
  },
  ImageWithoutBash: {
    status: 'FAILED',
    reason: 'FailedStart',
    blame: 'user',
    hint: 'Commands run under bash: use an image that has /bin/bash.',
  },
  KilledBySignal: { status: 'FAILED', reason: 'KilledBySignal', blame: 'user', hint: 'See `mcli logs`.' },
  OutOfMemory: {
    status: 'FAILED',
    reason: 'OutOfMemory',
    blame: 'user',
    hint: 'Lower the memory use, for instance the batch size or the number of data loader workers.',
  },
  MaxDuration: {
    status: 'STOPPED',
    reason: 'MaxDuration',
    blame: 'order',
    hint: 'Raise scheduling.max_duration, or leave it out.',
  },
  Preempted: { status: 'STOPPED', reason: 'Preempted', blame: 'order' },
  StoppedByUser: { status: 'STOPPED', reason: 'StoppedByUser', blame: 'order' },
  NodeLost: { status: 'FAILED', reason: 'NodeLost', blame: 'system' },
  DockerError: {
    status: 'FAILED',
    reason: 'DockerError',
    blame: 'system',
    nodeAtFault: true,
    hint: 'See the log of the node agent.',
  },
  AgentError: {
    status: 'FAILED',
    reason: 'AgentError',
    blame: 'system',
    nodeAtFault: true,
    hint: 'See the log of the node agent.',
  },
} as const satisfies Record<string, FailureClass>;

export type FailureType = keyof typeof FAILURES;

/** One failure, as it travels from a node to the run and on to people. */
export interface RunFailure {
  readonly type: FailureType;
  /** One sentence with the real values in it. */
  readonly message: string;
  readonly exitCode?: number;
  /** ISO 8601 in UTC. */
  readonly failedAt?: string;
  readonly rank?: number;
  readonly node?: string;
}

export function failureClass(type: FailureType): FailureClass {
  return FAILURES[type];
}

export function isNodeFailure(type: FailureType): boolean {
  return failureClass(type).nodeAtFault === true;
}

export function isFailureType(text: string | null | undefined): text is FailureType {
  return typeof text === 'string' && Object.hasOwn(FAILURES, text);
}

const SIGNAL_NAMES: Readonly<Record<number, string>> = {
  1: 'SIGHUP',
  2: 'SIGINT',
  3: 'SIGQUIT',
  4: 'SIGILL',
  6: 'SIGABRT',
  7: 'SIGBUS',
  8: 'SIGFPE',
  9: 'SIGKILL',
  11: 'SIGSEGV',
  13: 'SIGPIPE',
  15: 'SIGTERM',
};
const SHELL_COMMAND_NOT_FOUND = 127;
/** Shells and Docker report death by signal N as exit code 128 + N. */
const SIGNAL_BASE = 128;

/** What a container's end means for its run; `undefined` when the command returned 0. */
export function exitFailure(exit: {
  readonly exitCode: number;
  readonly oomKilled: boolean;
}): RunFailure | undefined {
  const { exitCode } = exit;
  if (exit.oomKilled) {
    return { type: 'OutOfMemory', exitCode, message: 'The run was killed because it ran out of memory.' };
  }
  if (exitCode === 0) return undefined;
  if (exitCode === SHELL_COMMAND_NOT_FOUND) {
    return { type: 'CommandNotFound', exitCode, message: 'The command was not found (exit code 127).' };
  }
  const signal = exitCode > SIGNAL_BASE ? SIGNAL_NAMES[exitCode - SIGNAL_BASE] : undefined;
  if (signal !== undefined) {
    return { type: 'KilledBySignal', exitCode, message: `The command was killed by ${signal}.` };
  }
  return { type: 'NonZeroExit', exitCode, message: `The command ended with exit code ${exitCode}.` };
}

/**
 * The failure that stands for the run when ranks of a gang fail together: the first, since the others lost a peer. By
 * the clocks of the nodes, because answers of several nodes overtake each other.
 */
export function rootCause(failures: readonly RunFailure[]): RunFailure | undefined {
  const time = ({ failedAt = '' }: RunFailure): string => failedAt;
  return failures.toSorted((a, b) => Number(time(a) > time(b)) - Number(time(a) < time(b)))[0];
}
