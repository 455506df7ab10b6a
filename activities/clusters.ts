/** Activities of the cluster worker: what clusters and nodes say to runs and to each other. */
import { Context } from '@temporalio/activity';
import { isGrpcServiceError, ServiceError, WorkflowNotFoundError } from '@temporalio/client';
import type { Client, WorkflowHandle } from '@temporalio/client';
import { unpackCluster } from '../core/cluster-state.ts';
import type { PackedCluster } from '../core/cluster-state.ts';
import { nodeWorkflowId, WORKFLOW_TYPES } from '../core/naming.ts';
import { decide } from '../core/scheduler.ts';
import {
  announceNodeSignal,
  clusterRestartedSignal,
  keepOrderSignal,
  leaseGrantedSignal,
  leaseRevokedSignal,
  nodeReportSignal,
} from '../workflows/messages.ts';
import type { ClusterActivities, ClusterNotice, Plan } from './contract.ts';
import { signalCluster } from './signal-cluster.ts';

/** Runs told at once: more do not make the server faster, and fill its queues. */
const CONCURRENCY = 20;
/** Between two heartbeats. */
const RECALLED_AT_ONCE = 200;
/**
 * After this the nodes of a terminated run have ended its containers. They are told by nobody: they find them (10 s), and
 * give them the usual grace (30 s).
 */
const CLEARED_UP_MS = 90_000;

export function createClusterActivities({ temporal }: { readonly temporal: Client }): ClusterActivities {
  return {
    plan: ({ cluster, now }) => Promise.resolve(planOf(cluster, now)),

    'next-round': ({ start, now }) => {
      const { messages, cluster, isIdle, hasNotices, isTimerSet, isSweepDue } = start;
      const plan = cluster === undefined ? { admissions: [], preemptions: [] } : planOf(cluster, now);
      return Promise.resolve({
        ...plan,
        messages,
        notifies: hasNotices || plan.admissions.length > 0 || plan.preemptions.length > 0,
        setsTimer: !isIdle && !isTimerSet,
        sweeps: isSweepDue,
      });
    },

    async 'notify-runs'({ notices }) {
      const unreached = await mapLimited(notices, async (notice) => {
        const reached = await notify(temporal, notice);
        return reached || notice.type === 'node' ? [] : [runOf(notice)];
      });
      return unreached.flat();
    },

    async 'find-ended-runs'({ runs, queued = [] }) {
      const ended = await mapLimited(runs, async (run) => {
        const afterMs = queued.includes(run) ? 0 : CLEARED_UP_MS;
        return (await hasEnded(temporal, run, afterMs)) ? [run] : [];
      });
      return ended.flat();
    },

    async recall({ cluster, nextFence, names }) {
      const { heartbeat, info } = Context.current();
      const listed = async (query: string): Promise<string[]> =>
        await idsOf(temporal, query, () => heartbeat(info.heartbeatDetails));
      const open = `ExecutionStatus = 'Running'`;
      const runs = await listed(
        `WorkflowType = '${WORKFLOW_TYPES.run}' AND Cluster = '${cluster}' AND ${open}`,
      );
      const nodes = await listed(
        `WorkflowType = '${WORKFLOW_TYPES.node}' AND WorkflowId STARTS_WITH '${nodeWorkflowId(cluster, '')}' AND ${open}`,
      );
      await mapLimited(nodes, async (id) => {
        await unlessGone(temporal.workflow.getHandle(id).signal(announceNodeSignal));
      });
      // Nodes may be told twice; thousands of runs go on where an earlier attempt was.
      const told = (info.heartbeatDetails as string | undefined) ?? '';
      const untold = runs.toSorted().filter((run) => run > told);
      for (let from = 0; from < untold.length; from += RECALLED_AT_ONCE) {
        const batch = untold.slice(from, from + RECALLED_AT_ONCE);
        await mapLimited(batch, async (run) => {
          await unlessGone(temporal.workflow.getHandle(run).signal(clusterRestartedSignal, nextFence));
        });
        heartbeat(batch.at(-1));
      }
      return names ? runs : runs.length;
    },

    async 'report-node'({ cluster, report }) {
      await signalCluster(temporal, cluster, nodeReportSignal, report);
    },
  };
}

function planOf(cluster: PackedCluster, now: number): Plan {
  const { history, ...snapshot } = unpackCluster(cluster);
  const { admissions, preemptions } = decide(snapshot, now, history);
  return {
    admissions: admissions.map(({ request: { run, resumption }, ranks }) => ({ run, resumption, ranks })),
    preemptions: preemptions.map(({ run, resumption, inFavourOf }) => ({ run, resumption, inFavourOf })),
  };
}

function runOf(notice: Exclude<ClusterNotice, { readonly type: 'node' }>): string {
  return notice.type === 'granted' ? notice.grant.lease.request.run : notice.revocation.run;
}

/** False when who is to be told has ended, was never there, or takes no more signals. */
async function notify(temporal: Client, notice: ClusterNotice): Promise<boolean> {
  const to = (id: string): WorkflowHandle => temporal.workflow.getHandle(id);
  switch (notice.type) {
    case 'granted':
      return await unlessGone(to(runOf(notice)).signal(leaseGrantedSignal, notice.grant));
    case 'revoked':
      return await unlessGone(to(runOf(notice)).signal(leaseRevokedSignal, notice.revocation));
    case 'node': {
      const { cluster, node, order } = notice;
      return await unlessGone(to(nodeWorkflowId(cluster, node)).signal(keepOrderSignal, order));
    }
  }
}

async function unlessGone(signalled: Promise<void>): Promise<boolean> {
  try {
    await signalled;
    return true;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError || takesNoMore(error)) return false;
    throw error;
  }
}

/** A workflow takes 10,000 signals; one that has had them must not keep the others from theirs. */
function takesNoMore(error: unknown): boolean {
  if (!(error instanceof ServiceError) || !isGrpcServiceError(error.cause)) return false;
  const code: number = error.cause.code;
  return code === INVALID_ARGUMENT;
}

/** Of gRPC. */
const INVALID_ARGUMENT = 3;

async function idsOf(temporal: Client, query: string, onEach: () => void): Promise<string[]> {
  const ids: string[] = [];
  for await (const { workflowId } of temporal.workflow.list({ query })) {
    ids.push(workflowId);
    onEach();
  }
  return ids;
}

/** True when a run has ended, and that long ago. */
async function hasEnded(temporal: Client, run: string, afterMs: number): Promise<boolean> {
  try {
    const { closeTime } = await temporal.workflow.getHandle(run).describe();
    return closeTime !== undefined && Date.now() - closeTime.getTime() >= afterMs;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return true;
    throw error;
  }
}

async function mapLimited<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const index = next++;
      results[index] = await work(items[index] as T);
    }
  };
  await Promise.all(Array.from({ length: Math.min(CONCURRENCY, items.length) }, worker));
  return results;
}
