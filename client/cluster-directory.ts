/** Which clusters there are and what they have: read from the cluster workflows, remembered for a moment. */
import type { Client } from '@temporalio/client';
import type { ClusterInventory } from '../core/resources.ts';
import { WORKFLOW_TYPES } from '../core/naming.ts';
import { clusterViewQuery } from '../workflows/messages.ts';

/** Enough to spare a burst of submissions a query each; construction asks again before it refuses anything. */
const REMEMBERED_MS = 5_000;

export class ClusterDirectory {
  private readonly temporal: Client;
  private known: { readonly at: number; readonly clusters: Promise<ClusterInventory[]> } | undefined;

  constructor(temporal: Client) {
    this.temporal = temporal;
  }

  list(): Promise<ClusterInventory[]> {
    if (this.known && Date.now() - this.known.at < REMEMBERED_MS) return this.known.clusters;
    return this.refresh();
  }

  refresh(): Promise<ClusterInventory[]> {
    const clusters = this.read();
    this.known = { at: Date.now(), clusters };
    // A failed look is not remembered.
    clusters.catch(() => (this.known = undefined));
    return clusters;
  }

  private async read(): Promise<ClusterInventory[]> {
    const query = `WorkflowType = '${WORKFLOW_TYPES.cluster}' AND ExecutionStatus = 'Running'`;
    const views: Promise<ClusterInventory>[] = [];
    for await (const { workflowId } of this.temporal.workflow.list({ query })) {
      views.push(this.view(workflowId));
    }
    return (await Promise.all(views)).toSorted((a, b) => (a.cluster < b.cluster ? -1 : 1));
  }

  private async view(workflowId: string): Promise<ClusterInventory> {
    const { snapshot } = await this.temporal.workflow.getHandle(workflowId).query(clusterViewQuery);
    return { cluster: snapshot.cluster, nodes: snapshot.nodes };
  }
}
