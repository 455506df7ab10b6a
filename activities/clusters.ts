/** Activities of the cluster worker: what clusters and nodes say to runs and to each other. */
import { WorkflowNotFoundError } from '@temporalio/client';
import type { Client } from '@temporalio/client';
import { unpackCluster } from '../core/cluster-state.ts';
import { nodeWorkflowId, WORKFLOW_TYPES } from '../core/naming.ts';
import { decide } from '../core/scheduler.ts';
import {
  announceNodeSignal,
  clusterRestartedSignal,
  leaseGrantedSignal,
  leaseRevokedSignal,
  nodeReportSignal,
} from '../workflows/messages.ts';
import type { ClusterActivities, LeaseNotice } from './contract.ts';
import { signalCluster } from './signal-cluster.ts';

/** Runs told at once: more do not make the server faster, and fill its queues. */
const CONCURRENCY = 20;
/**
 * After this the nodes of a terminated run have ended its containers. They are told by nobody: they find them (10 s), and
 * give them the usual grace (30 s).
 */
const CLEARED_UP_MS = 90_000;

export function createClusterActivities({ temporal }: { readonly temporal: Client }): ClusterActivities {
  return {
    plan: ({ cluster, now }) => {
      const { history, ...snapshot } = unpackCluster(cluster);
      const { admissions, preemptions } = decide(snapshot, now, history);
      return Promise.resolve({
        admissions: admissions.map(({ request: { run, resumption }, ranks }) => ({ run, resumption, ranks })),
        preemptions: preemptions.map(({ run, resumption, inFavourOf }) => ({ run, resumption, inFavourOf })),
      });
    },

    async 'notify-runs'({ notices }) {
      const gone = await mapLimited(notices, async (notice) => {
        const reached = await notify(temporal, notice);
        return reached ? [] : [runOf(notice)];
      });
      return gone.flat();
    },

    async 'find-ended-runs'({ runs, queued = [] }) {
      const ended = await mapLimited(runs, async (run) => {
        const afterMs = queued.includes(run) ? 0 : CLEARED_UP_MS;
        return (await hasEnded(temporal, run, afterMs)) ? [run] : [];
      });
      return ended.flat();
    },

    async recall({ cluster, nextFence }) {
      const open = `ExecutionStatus = 'Running'`;
      const runs = await idsOf(
        temporal,
        `WorkflowType = '${WORKFLOW_TYPES.run}' AND Cluster = '${cluster}' AND ${open}`,
      );
      const nodes = await idsOf(
        temporal,
        `WorkflowType = '${WORKFLOW_TYPES.node}' AND WorkflowId STARTS_WITH '${nodeWorkflowId(cluster, '')}' AND ${open}`,
      );
      await mapLimited([...nodes, ...runs], async (id) => {
        const handle = temporal.workflow.getHandle(id);
        await unlessGone(
          nodes.includes(id)
            ? handle.signal(announceNodeSignal)
            : handle.signal(clusterRestartedSignal, nextFence),
        );
      });
      return runs.length;
    },

    async 'report-node'({ cluster, report }) {
      await signalCluster(temporal, cluster, nodeReportSignal, report);
    },
  };
}

function runOf(notice: LeaseNotice): string {
  return notice.type === 'granted' ? notice.grant.lease.request.run : notice.revocation.run;
}

/** False when the run has ended or was never there. */
async function notify(temporal: Client, notice: LeaseNotice): Promise<boolean> {
  const handle = temporal.workflow.getHandle(runOf(notice));
  return await unlessGone(
    notice.type === 'granted'
      ? handle.signal(leaseGrantedSignal, notice.grant)
      : handle.signal(leaseRevokedSignal, notice.revocation),
  );
}

async function unlessGone(signalled: Promise<void>): Promise<boolean> {
  try {
    await signalled;
    return true;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return false;
    throw error;
  }
}

async function idsOf(temporal: Client, query: string): Promise<string[]> {
  const ids: string[] = [];
  for await (const { workflowId } of temporal.workflow.list({ query })) ids.push(workflowId);
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
