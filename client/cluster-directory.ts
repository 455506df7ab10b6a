/** Which clusters there are and what they have: read from the cluster workflows, remembered for a moment. */
import type { Client } from '@temporalio/client';
import type { ClusterInventory } from '../core/resources.ts';
import { clusterWorkflowId } from '../core/naming.ts';
import { clusterNodesQuery } from '../workflows/messages.ts';
import { clusterNames } from './clusters.ts';

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
    const names = await clusterNames(this.temporal);
    return await Promise.all(
      names.map(async (cluster) => {
        const handle = this.temporal.workflow.getHandle(clusterWorkflowId(cluster));
        return { cluster, nodes: await handle.query(clusterNodesQuery) };
      }),
    );
  }
}
