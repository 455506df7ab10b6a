/** Signals to cluster workflows. With-start: a cluster that an operator has ended must not strand anybody. */
import type { Client } from '@temporalio/client';
import type { SignalDefinition } from '@temporalio/common';
import { emptyCluster } from '../core/cluster-state.ts';
import { CLUSTER_QUEUE, clusterWorkflowId, WORKFLOW_TYPES } from '../core/naming.ts';

export async function signalCluster<Args extends unknown[]>(
  temporal: Client,
  cluster: string,
  signal: SignalDefinition<Args>,
  ...signalArgs: Args
): Promise<void> {
  await temporal.workflow.signalWithStart(WORKFLOW_TYPES.cluster, {
    workflowId: clusterWorkflowId(cluster),
    taskQueue: CLUSTER_QUEUE,
    args: [emptyCluster(cluster, Date.now())],
    signal: signal.name,
    signalArgs: [...signalArgs] as unknown[],
  });
}
