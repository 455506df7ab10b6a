/**
 * Starts a cluster's workflow again where it has ended, for instance because somebody terminated it in the Web UI: as
 * long as one node belongs to a cluster, its queue must be served.
 */
import type { Client } from '@temporalio/client';
import { emptyCluster } from '../core/cluster-state.ts';
import { CLUSTER_QUEUE, clusterOfNodeWorkflow, clusterWorkflowId, WORKFLOW_TYPES } from '../core/naming.ts';

const LOOK_EVERY_MS = 15_000;

export function keepClusters(temporal: Client): void {
  const look = async (): Promise<void> => {
    try {
      for (const cluster of await clustersWithNodes(temporal)) {
        await temporal.workflow.start(WORKFLOW_TYPES.cluster, {
          workflowId: clusterWorkflowId(cluster),
          taskQueue: CLUSTER_QUEUE,
          args: [emptyCluster(cluster, Date.now())],
          workflowIdConflictPolicy: 'USE_EXISTING',
        });
      }
    } catch (error) {
      console.error(
        `Could not look after the clusters: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
    setTimeout(() => void look(), LOOK_EVERY_MS).unref();
  };
  void look();
}

async function clustersWithNodes(temporal: Client): Promise<Set<string>> {
  const clusters = new Set<string>();
  const query = `WorkflowType = '${WORKFLOW_TYPES.node}' AND ExecutionStatus = 'Running'`;
  for await (const { workflowId } of temporal.workflow.list({ query })) {
    clusters.add(clusterOfNodeWorkflow(workflowId));
  }
  return clusters;
}
