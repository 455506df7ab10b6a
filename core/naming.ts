/** Workflow ids, task queues, subjects, container names, labels and paths: every name that two processes share. */

export const NAMESPACE = 'mcli';
/** Run workflows and the activities of the control plane. */
export const CONTROL_QUEUE = 'mcli-control';
/** Cluster and node workflows, in a process of their own: a flood of signals there must not stop runs. */
export const CLUSTER_QUEUE = 'mcli-clusters';

export const WORKFLOW_TYPES = { run: 'run', cluster: 'cluster', node: 'node', tracking: 'tracking' } as const;

export const clusterWorkflowId = (cluster: string): string => `cluster/${cluster}`;
export const nodeWorkflowId = (cluster: string, node: string): string => `node/${cluster}/${node}`;
/** The report of a run to its trackers; names of runs have no slash. */
export const trackingWorkflowId = (run: string): string => `tracking/${run}`;
/** The inverse of `nodeWorkflowId`; cluster names have no slash. */
export const clusterOfNodeWorkflow = (workflowId: string): string => workflowId.split('/')[1] ?? '';
export const nodeQueue = (cluster: string, node: string): string => `node/${cluster}/${node}`;

/** JetStream stream of all logs; its age limit is the run history's. */
export const LOG_STREAM = 'MCLI_LOGS';
export const LOG_SUBJECTS = 'logs.>';
export const HISTORY_DAYS = 14;

export interface RankRef {
  readonly run: string;
  readonly resumption: number;
  readonly rank: number;
}

export const logSubject = (ref: RankRef): string => logSubjects(ref);

/** Of all resumptions, or all ranks, where none is named. */
export const logSubjects = ({ run, resumption, rank }: Pick<RankRef, 'run'> & Partial<RankRef>): string =>
  `logs.${run}.${resumption ?? '*'}.${rank ?? '*'}`;

/** The inverse of `logSubject`; run names have no dots. */
export function parseLogSubject(subject: string): RankRef {
  const [, run = '', resumption, rank] = subject.split('.');
  return { run, resumption: Number(resumption), rank: Number(rank) };
}

/** Deterministic, so that a second start of the same rank is a conflict in Docker and not a second container. */
export const containerName = (ref: RankRef): string => `mcli-${ref.run}-${ref.resumption}-${ref.rank}`;

/** The name of a container that carries our labels. */
export const containerNameOf = (labels: Readonly<Record<string, string>>): string =>
  containerName({
    run: labels[LABELS.run] ?? '',
    resumption: Number(labels[LABELS.resumption]),
    rank: Number(labels[LABELS.rank]),
  });

/** A stack's own: two local stacks on one Docker daemon have the same cluster and node names. */
export const controlPlaneId = (temporalAddress: string, namespace: string): string =>
  `${temporalAddress}/${namespace}`;

export const LABELS = {
  controlPlane: 'mcli.control-plane',
  run: 'mcli.run',
  resumption: 'mcli.resumption',
  rank: 'mcli.rank',
  ranks: 'mcli.ranks',
  fence: 'mcli.fence',
  cluster: 'mcli.cluster',
  node: 'mcli.node',
  gpus: 'mcli.gpus',
} as const;

/** A node as its machine sees it: agents of several may share one Docker daemon. */
export interface NodePlace {
  readonly controlPlane: string;
  readonly cluster: string;
  readonly node: string;
}

/** What the labels of all containers of a node have in common. */
export function labelsOfNode({ controlPlane, cluster, node }: NodePlace): Readonly<Record<string, string>> {
  return { [LABELS.controlPlane]: controlPlane, [LABELS.cluster]: cluster, [LABELS.node]: node };
}

/** The longest submitted name: a DNS label less the dash and the suffix. */
export const MAX_RUN_NAME_LENGTH = 56;
export const RUN_SUFFIX_LENGTH = 6;
export const RUN_SUFFIX_ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789';

export const CONFIG_DIR = '/mnt/config';
export const PARAMETERS_PATH = `${CONFIG_DIR}/parameters.yaml`;
export const RUN_CONFIG_PATH = `${CONFIG_DIR}/run_config.yaml`;
/** Below the ports of local stacks (20,000 on) and those that systems hand out for outgoing connections. */
const MASTER_PORTS = { first: 10_000, count: 10_000 };

/**
 * Where the ranks meet: MASTER_PORT. Another for every lease, because gangs share the network of their nodes; two
 * leases of one node have the same only when 10,000 grants lie between them.
 */
export const masterPort = (fence: number): number => MASTER_PORTS.first + (fence % MASTER_PORTS.count);
