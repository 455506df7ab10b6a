/** Finds the clusters and nodes that a command names; an unknown name is answered with what there is. */
import type { ClusterNode } from '../core/cluster.ts';
import { didYouMean } from '../core/suggest.ts';
import type { ClusterView } from '../workflows/messages.ts';
import type { Mcli } from './context.ts';
import { CliError } from './errors.ts';

/**
 * The named clusters; all where none is named.
 * @throws CliError for a name that no cluster has
 */
export async function selectClusters(mcli: Mcli, names: readonly string[]): Promise<ClusterView[]> {
  const views = await mcli.clusters.list();
  const known = views.map(({ snapshot }) => snapshot.cluster);
  const problems = names
    .filter((name) => !known.includes(name))
    .map((name) => ({
      message: `No cluster found with name: ${name}${didYouMean(name, known)}`,
      why: known.length === 0 ? 'there is no cluster yet' : `the clusters are ${known.join(', ')}`,
      fix: 'See `mcli get clusters`.',
    }));
  if (problems.length > 0) throw new CliError(problems);
  return names.length === 0 ? views : views.filter(({ snapshot }) => names.includes(snapshot.cluster));
}

/**
 * The named cluster, or the only one.
 * @throws CliError where there are several and none is named
 */
export async function selectCluster(mcli: Mcli, name: string | undefined): Promise<ClusterView> {
  const [only, ...others] = await selectClusters(mcli, name === undefined ? [] : [name]);
  if (!only) {
    throw new CliError({
      message: 'There are no clusters',
      fix: 'Start a node agent; on this machine: mcli up',
    });
  }
  if (others.length === 0) return only;
  const names = [only, ...others].map(({ snapshot }) => snapshot.cluster);
  throw new CliError({
    message: `Multiple clusters found. Please specify one of the following: ${names.join(', ')}`,
  });
}

export interface FoundNode {
  readonly view: ClusterView;
  readonly cluster: string;
  readonly node: ClusterNode;
}

/** Also those that only leases name: a cluster that has lost its memory may never hear of them again. */
function nodesOf({ snapshot: { nodes, leases } }: ClusterView): ClusterNode[] {
  const named = new Set(leases.flatMap(({ ranks }) => ranks.map(({ node }) => node)));
  for (const { node } of nodes) named.delete(node);
  const unknown = { gpuType: null, gpus: 0, cpuSlots: 0, alive: false, cordoned: false };
  return [...nodes, ...[...named].map((node) => ({ ...unknown, node, address: node }))];
}

/**
 * The node of this name, on `cluster` or wherever it is.
 * @throws CliError where there is no such node, or one on several clusters
 */
export async function findNode(mcli: Mcli, name: string, cluster: string | undefined): Promise<FoundNode> {
  const views = await selectClusters(mcli, cluster === undefined ? [] : [cluster]);
  const found = views.flatMap((view) =>
    nodesOf(view)
      .filter(({ node }) => node === name)
      .map((node) => ({ view, cluster: view.snapshot.cluster, node })),
  );
  const [only, ...others] = found;
  if (only && others.length === 0) return only;
  if (only) {
    throw new CliError({
      message: `Several clusters have a node ${name}`,
      why: `it is on ${found.map(({ cluster }) => cluster).join(' and on ')}`,
      fix: `Say which: --cluster ${only.cluster}`,
    });
  }
  const known = views.flatMap(({ snapshot }) => snapshot.nodes.map(({ node }) => node)).sort();
  throw new CliError({
    message: `No node found with name: ${name}${didYouMean(name, known)}`,
    why: known.length === 0 ? 'no node has joined yet' : `the nodes are ${known.join(', ')}`,
    fix: 'See `mcli describe cluster`.',
  });
}
