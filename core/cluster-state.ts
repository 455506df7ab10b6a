/**
 * All that a cluster workflow knows, and the compact form in which it travels through continue-as-new: a payload may
 * have 2 MB, and ten thousand waiting runs as objects have three.
 */
import type { CapacityRequest, ClusterSnapshot, Lease } from './cluster.ts';
import { emptyHistory } from './estimates.ts';
import type { RunTimeHistory } from './estimates.ts';
import { PRIORITIES, priorityRank } from './priority.ts';

export interface ClusterState extends ClusterSnapshot {
  readonly nextFence: number;
  /** True until nodes and runs that may know an earlier life of this cluster have been asked. */
  readonly fresh: boolean;
  readonly history: RunTimeHistory;
  /** Runs that the last sweep found ended; absent before rounds, like what follows. */
  readonly suspects?: readonly string[];
  readonly sweeps?: number;
  /** Runs that have yet to tell what they hold, after a loss of memory. */
  readonly unheard?: readonly string[];
}

/** Words are kept once, in `words`, and named by their index; -1 is `null`. Times count from `epoch`. */
export interface PackedCluster extends Omit<ClusterState, 'queue' | 'leases'> {
  readonly epoch: number;
  readonly words: readonly string[];
  readonly queue: readonly PackedRequest[];
  readonly leases: readonly PackedLease[];
}

type PackedRequest = readonly [
  /** Without the submitted name in front, where it stands there. */
  run: string,
  resumption: number,
  user: number,
  name: number,
  priority: number,
  preemptible: 0 | 1,
  gpuType: number,
  gpus: number,
  nodes: number,
  gpusPerNode: number,
  nodeNames: readonly number[],
  createdAt: number,
  maxDurationMs?: number,
];

type PackedLease = readonly [
  request: PackedRequest,
  fence: number,
  grantedAt: number,
  ranks: readonly (readonly [node: number, ...gpuIds: number[]])[],
  revokedFor?: string,
];

/** `now` in epoch milliseconds: fencing numbers start there, and so above all that an earlier life has given out. */
export function emptyCluster(cluster: string, now: number): PackedCluster {
  const nothing = { nodes: [], queue: [], leases: [], words: [] };
  return { cluster, ...nothing, epoch: now, nextFence: now, fresh: true, history: emptyHistory() };
}

export function packCluster({ queue, leases, ...state }: ClusterState): PackedCluster {
  const words = new Map<string, number>();
  const indexOf = (word: string | null): number => {
    if (word === null) return -1;
    const known = words.get(word) ?? words.size;
    words.set(word, known);
    return known;
  };
  const requests = [...queue, ...leases.map(({ request }) => request)];
  const epoch = requests.reduce((oldest, { createdAt }) => Math.min(oldest, createdAt), state.nextFence);

  const packRequest = (request: CapacityRequest): PackedRequest => {
    const { run, name, maxDurationMs } = request;
    return [
      run.startsWith(`${name}-`) ? run.slice(name.length) : run,
      request.resumption,
      indexOf(request.user),
      indexOf(name),
      priorityRank(request.priority),
      request.preemptible ? 1 : 0,
      indexOf(request.gpuType),
      request.gpus,
      request.nodes,
      request.gpusPerNode,
      request.nodeNames.map(indexOf),
      request.createdAt - epoch,
      ...optional(maxDurationMs),
    ];
  };
  const packLease = ({ request, fence, grantedAt, ranks, revokedFor }: Lease): PackedLease => [
    packRequest(request),
    fence,
    grantedAt - epoch,
    ranks.map(({ node, gpuIds }) => [indexOf(node), ...gpuIds] as const),
    ...optional(revokedFor),
  ];
  const packed = { queue: queue.map(packRequest), leases: leases.map(packLease) };
  return { ...state, ...packed, epoch, words: [...words.keys()] };
}

export function unpackCluster({ queue, leases, words, epoch, ...state }: PackedCluster): ClusterState {
  const word = (index: number): string => words[index] ?? '';
  const unpackRequest = (packed: PackedRequest): CapacityRequest => {
    const [run, resumption, user, name, priority, preemptible, gpuType] = packed;
    const [, , , , , , , gpus, nodes, gpusPerNode, nodeNames, createdAt, maxDurationMs] = packed;
    return {
      run: run.startsWith('-') ? `${word(name)}${run}` : run,
      resumption,
      user: word(user),
      name: word(name),
      priority: PRIORITIES[priority] ?? 'medium',
      preemptible: preemptible === 1,
      gpuType: gpuType === -1 ? null : word(gpuType),
      gpus,
      nodes,
      gpusPerNode,
      nodeNames: nodeNames.map(word),
      createdAt: createdAt + epoch,
      ...(maxDurationMs === undefined ? {} : { maxDurationMs }),
    };
  };
  const unpackLease = ([request, fence, grantedAt, ranks, revokedFor]: PackedLease): Lease => ({
    request: unpackRequest(request),
    fence,
    ranks: ranks.map(([node, ...gpuIds]) => ({ node: word(node), gpuIds })),
    grantedAt: grantedAt + epoch,
    ...(revokedFor === undefined ? {} : { revokedFor }),
  });
  return { ...state, queue: queue.map(unpackRequest), leases: leases.map(unpackLease) };
}

function optional<T>(value: T | undefined): [] | [T] {
  return value === undefined ? [] : [value];
}
