/** Clusters, as clients see them: what they have, who runs and who waits there, and orders to their nodes. */
import type { Client } from '@temporalio/client';
import { clusterWorkflowId, nodeWorkflowId, WORKFLOW_TYPES } from '../core/naming.ts';
import type { NodeHealth, NodeHeartbeat } from '../core/node-health.ts';
import { clusterViewQuery, nodeReportSignal } from '../workflows/messages.ts';
import type { ClusterView, NodeReport, QueuePage } from '../workflows/messages.ts';
import type { Connections } from './connection.ts';
import { ClusterSilent } from './errors.ts';
import { heartbeatsOfAll } from './heartbeats.ts';

/** What an operator may tell a cluster about one of its nodes. */
export type NodeOrder =
  | Extract<NodeReport, { readonly type: 'cordoned' }>
  | { readonly type: 'uncordoned' | 'drained' | 'deleted'; readonly node: string };

/** What a node has last said of itself. */
export interface NodeBeat {
  /** When the server heard it. */
  readonly at: Date;
  readonly health?: NodeHealth;
}

export class Clusters {
  private readonly connections: Connections;

  constructor(connections: Connections) {
    this.connections = connections;
  }

  /**
   * Every cluster, by name.
   * @throws ClusterSilent
   */
  async list(): Promise<ClusterView[]> {
    const names = await clusterNames(await this.connections.temporal());
    return await Promise.all(names.map((name) => this.view(name)));
  }

  /**
   * All that the cluster knows. A long queue is read in pages: what changes in between may be missing or doubled.
   * @throws ClusterSilent
   */
  async view(cluster: string): Promise<ClusterView> {
    const first = await this.page(cluster, { from: 0, count: PAGE_RUNS });
    const queue = [...first.snapshot.queue];
    const waiting = [...first.waiting];
    for (let from = PAGE_RUNS; from < first.queued; from += PAGE_RUNS) {
      const next = await this.page(cluster, { from, count: PAGE_RUNS });
      queue.push(...next.snapshot.queue);
      waiting.push(...next.waiting);
    }
    return { ...first, snapshot: { ...first.snapshot, queue }, waiting };
  }

  /** Resolves when the order is on its way; the cluster's view shows when it has taken effect. */
  async order(cluster: string, order: NodeOrder): Promise<void> {
    const client = await this.connections.temporal();
    await client.workflow.getHandle(clusterWorkflowId(cluster)).signal(nodeReportSignal, order);
  }

  /** The last heartbeats of the cluster's nodes, by name; a node that is out of service has none. */
  async heartbeats({ snapshot: { cluster, nodes } }: ClusterView): Promise<ReadonlyMap<string, NodeBeat>> {
    const ids = new Map(nodes.map(({ node }) => [nodeWorkflowId(cluster, node), node]));
    const found = await heartbeatsOfAll(await this.connections.temporal(), [...ids.keys()]);
    return new Map(
      [...found].flatMap(([id, beats]) => {
        const beat = beats.find(({ activity, at }) => activity === 'serve-node' && at !== undefined);
        if (!beat?.at) return [];
        const { health } = (beat.details ?? {}) as Partial<NodeHeartbeat>;
        return [[ids.get(id) ?? id, { at: beat.at, ...(health && { health }) }]];
      }),
    );
  }

  private async page(cluster: string, page: QueuePage): Promise<ClusterView> {
    const client = await this.connections.temporal();
    const handle = client.workflow.getHandle(clusterWorkflowId(cluster));
    try {
      return await client.connection.withDeadline(Date.now() + ANSWER_MS, () =>
        handle.query(clusterViewQuery, page),
      );
    } catch (error) {
      throw new ClusterSilent(cluster, error);
    }
  }
}

/** The clusters that there are, sorted. */
export async function clusterNames(client: Client): Promise<string[]> {
  const query = `WorkflowType = '${WORKFLOW_TYPES.cluster}' AND ExecutionStatus = 'Running'`;
  const prefix = clusterWorkflowId('').length;
  const names: string[] = [];
  for await (const { workflowId } of client.workflow.list({ query })) names.push(workflowId.slice(prefix));
  return names.sort();
}

/** About 700 bytes each, of the 2 MB that an answer may have. */
const PAGE_RUNS = 1_000;
/** A query waits for a worker; without any, this long. */
const ANSWER_MS = 5_000;
