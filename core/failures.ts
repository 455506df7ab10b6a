/**
 * Everything that can end a resumption before its command has returned 0, as a closed table. The table alone decides
 * what the user reads, and whether the platform or the user is to blame: system failures are retried by themselves.
 */
import { size } from './phrases.ts';
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

const SECRET_HINT = 'Create a secret for this registry with `mcli create secret docker`.';

export const FAILURES = {
  ImageNotFound: {
    status: 'FAILED',
    reason: 'FailedPull',
    blame: 'user',
    hint: `Check the image name and tag. If the image is private: ${SECRET_HINT}`,
  },
  ImageUnauthorized: {
    status: 'FAILED',
    reason: 'FailedPull',
    blame: 'user',
    hint: `${SECRET_HINT} If there is one, its user name or password is wrong: delete it, and create it again.`,
  },
  ImageForbidden: {
    status: 'FAILED',
    reason: 'FailedPull',
    blame: 'user',
    hint: 'The registry knows the account and does not let it read this image: check the image name, or have the account allowed.',
  },
  ImageWrongPlatform: {
    status: 'FAILED',
    reason: 'FailedPull',
    blame: 'user',
    hint: 'Build the image for the platform of the node, for instance with `docker build --platform linux/amd64`.',
  },
  /** The image, or what the registry says of it, is of no use to Docker: it would be to no node. */
  ImageInvalid: {
    status: 'FAILED',
    reason: 'FailedPull',
    blame: 'user',
    hint: 'Check that the name is that of a container image, and push the image again; a registry of your own may say more in its log.',
  },
  /** There is no such host. */
  RegistryUnreachable: {
    status: 'FAILED',
    reason: 'FailedPull',
    blame: 'user',
    hint: 'Check the registry host in the image name, and that the node can resolve it.',
  },
  /** Not the user's: a registry that is away for a minute must not cost a week in the queue. */
  RegistryDown: {
    status: 'FAILED',
    reason: 'FailedPull',
    blame: 'system',
    hint: 'Check that the registry is up, that the node reaches it, and the port in the image name.',
  },
  RegistryTls: {
    status: 'FAILED',
    reason: 'FailedPull',
    blame: 'user',
    hint: 'Whoever runs the node makes it trust the registry: its certificate authority goes to /etc/docker/certs.d/HOST/ca.crt.',
  },
  RegistryRateLimited: {
    status: 'FAILED',
    reason: 'FailedPull',
    blame: 'system',
    hint: `Registries allow more to accounts than to strangers. ${SECRET_HINT}`,
  },
  PullDiskFull: {
    status: 'FAILED',
    reason: 'FailedPull',
    blame: 'system',
    nodeAtFault: true,
    hint: 'Whoever runs the node frees disk space on it, or cordons it: `mcli cordon node`.',
  },
  NodeDiskFull: {
    status: 'FAILED',
    reason: 'DiskFull',
    blame: 'system',
    nodeAtFault: true,
    hint: 'Whoever runs the node frees disk space on it, or cordons it: `mcli cordon node`.',
  },
  /** Not the node's fault: what filled the disk may go with the container. */
  DiskFull: {
    status: 'FAILED',
    reason: 'DiskFull',
    blame: 'system',
    hint: 'Write large files to a bucket, and fewer of them to the disk; `mcli describe cluster` shows how full the nodes are.',
  },
  SecretUnreadable: {
    status: 'FAILED',
    reason: 'FailedStart',
    blame: 'user',
    hint: 'Delete the secret and create it again: `mcli delete secret`, `mcli create secret`.',
  },
  NodeWithoutKey: {
    status: 'FAILED',
    reason: 'FailedStart',
    blame: 'system',
    nodeAtFault: true,
    hint: 'Whoever runs the node makes a key with `mcli create node-key FILE`, and names the file in MCLI_NODE_KEY_FILE.',
  },
  /** Not the node's fault: which keys a secret is sealed to, its user could have chosen. */
  SecretNotPassedOn: {
    status: 'FAILED',
    reason: 'FailedStart',
    blame: 'system',
    hint: 'See the logs of the node agents: one that can open the secret seals it to the keys of the others.',
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
  KilledBySignal: {
    status: 'FAILED',
    reason: 'KilledBySignal',
    blame: 'user',
    hint: 'See `mcli logs`. A SIGBUS comes from a full /dev/shm; a SIGKILL that nothing in the run has sent, from a machine out of memory.',
  },
  /** Somebody or something on the node ended it, and neither the program nor mcli did. */
  ContainerStopped: {
    status: 'FAILED',
    reason: 'ContainerStopped',
    blame: 'system',
    hint: 'Ask whoever runs the node; Docker keeps containers over its own restarts with `live-restore`.',
  },
  OutOfMemory: {
    status: 'FAILED',
    reason: 'OutOfMemory',
    blame: 'user',
    hint: 'Lower the memory use, for instance the number of data loader workers, or ask for more GPUs of a node: memory is shared out by GPUs.',
  },
  MaxDuration: {
    status: 'STOPPED',
    reason: 'MaxDuration',
    blame: 'order',
    hint: 'Raise scheduling.max_duration, or leave it out.',
  },
  Preempted: { status: 'STOPPED', reason: 'Preempted', blame: 'order' },
  StoppedByUser: { status: 'STOPPED', reason: 'StoppedByUser', blame: 'order' },
  NodeLost: {
    status: 'FAILED',
    reason: 'NodeLost',
    blame: 'system',
    hint: 'See `mcli describe cluster`, and the machine itself.',
  },
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

/**
 * How the program of a container came to its end: by `itself`, whatever its exit code; when it had been `told` to stop,
 * by whomever; or `unseen`, when the whole container was killed.
 */
export type ProgramEnd = 'itself' | 'told' | 'unseen';

/** What is known of a container that has ended without an order of the platform. */
export interface ProgramExit {
  readonly exitCode: number;
  readonly oomKilled: boolean;
  /** Absent where nobody looked: `itself`. */
  readonly end?: ProgramEnd;
  readonly memoryLimitBytes?: number;
  /** Nothing more could be written when the program had failed. */
  readonly diskFull?: boolean;
  /** Of a container that its node has ended: for how long the control plane had not heard of the node, in milliseconds. */
  readonly unheardMs?: number;
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
export function exitFailure(exit: ProgramExit): RunFailure | undefined {
  const { exitCode, end = 'itself' } = exit;
  if (end === 'told') return { type: 'ContainerStopped', message: endFromOutside(exit) };
  if (exitCode === 0 && end === 'itself') return undefined;
  // The kernel may have killed the whole container.
  if (exit.oomKilled) return { type: 'OutOfMemory', exitCode, message: outOfMemory(exit) };
  if (end === 'unseen') return { type: 'ContainerStopped', message: endFromOutside(exit) };
  const failure = failureOfCode(exitCode);
  if (exit.diskFull !== true) return failure;
  // Without the exit code: it did not come to its own end.
  return {
    type: 'DiskFull',
    message: `${failure.message.replace(/\.$/, '')}, and the disk of the node was full.`,
  };
}

function endFromOutside({ end, exitCode, unheardMs }: ProgramExit): string {
  if (unheardMs !== undefined) {
    return `The container was ended by its node, which had not reached the control plane for ${seconds(unheardMs)}: its lease was nearly over.`;
  }
  return end === 'told'
    ? 'The container was ended from outside: something other than mcli told it to stop, such as a shutdown of Docker or of the machine.'
    : `The container was ended from outside: it was killed (exit code ${exitCode}), as by \`docker kill\` or when Docker or the machine goes down.`;
}

function failureOfCode(exitCode: number): RunFailure {
  if (exitCode === SHELL_COMMAND_NOT_FOUND) {
    return { type: 'CommandNotFound', exitCode, message: 'The command was not found (exit code 127).' };
  }
  const signal = exitCode > SIGNAL_BASE ? SIGNAL_NAMES[exitCode - SIGNAL_BASE] : undefined;
  if (signal !== undefined) {
    return { type: 'KilledBySignal', exitCode, message: `The command was killed by ${signal}.` };
  }
  return { type: 'NonZeroExit', exitCode, message: `The command ended with exit code ${exitCode}.` };
}

function outOfMemory({ memoryLimitBytes }: ProgramExit): string {
  if (memoryLimitBytes === undefined) return 'The run was killed because it ran out of memory.';
  return `The run was killed because it used all of its ${size(memoryLimitBytes)} of memory.`;
}

/** How a container ended that the platform told to stop. */
interface OrderedEnd {
  readonly endedBy: 'not-running' | 'SIGTERM' | 'SIGKILL';
  /** From the order to the end; absent when it did not run. */
  readonly afterMs?: number;
}

/** One sentence to follow the reason of a stop; `undefined` when nothing ran that could be stopped. */
export function describeStop({ endedBy, afterMs = 0 }: OrderedEnd, graceMs: number): string | undefined {
  if (endedBy === 'not-running') return undefined;
  if (endedBy === 'SIGKILL') return `It was killed after the grace of ${seconds(graceMs)}.`;
  return `It ended by itself on SIGTERM after ${seconds(afterMs)}.`;
}

function seconds(ms: number): string {
  return `${Number((ms / 1000).toFixed(1))} s`;
}

/**
 * The failure that stands for the run when ranks of a gang fail together: the first, since the others lost a peer. By
 * the clocks of the nodes, because answers of several nodes overtake each other.
 */
export function rootCause<T extends RunFailure>(failures: readonly T[]): T | undefined {
  const time = ({ failedAt = '' }: RunFailure): string => failedAt;
  return failures.toSorted((a, b) => Number(time(a) > time(b)) - Number(time(a) < time(b)))[0];
}
