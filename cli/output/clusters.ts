/** Clusters and their nodes: tables and JSON. */
import type { NodeBeat } from '../../client/index.ts';
import type { ClusterNode, ClusterSnapshot, Lease } from '../../core/cluster.ts';
import { healthProblems } from '../../core/node-health.ts';
import type { NodeHealth } from '../../core/node-health.ts';
import { instanceName } from '../../core/resources.ts';
import type { ClusterView } from '../../workflows/messages.ts';
import { alignColumns, renderTable } from './table.ts';
import { displayBytes, displayDuration, iso } from './time.ts';

/** Nodes that are alike. */
export interface Instance {
  /** `8xa100_80gb`, or `cpu`. */
  readonly name: string;
  readonly nodes: readonly ClusterNode[];
}

export function instancesOf(nodes: readonly ClusterNode[]): Instance[] {
  const groups = Map.groupBy(nodes, instanceName);
  return [...groups].map(([name, nodes]) => ({ name, nodes })).sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The table of `mcli get clusters`; the cluster's name stands on its first row only. */
export function renderClusters(views: readonly ClusterView[]): string {
  const rows = views.flatMap(({ snapshot }) => {
    const instances = instancesOf(snapshot.nodes).flatMap(instanceRow);
    const cpuNodes = snapshot.nodes.filter(({ cpuSlots }) => cpuSlots > 0).length;
    const all = [...instances, ['none', '0', 'cpu', String(cpuNodes)]];
    return all.map((cells, i) => [i === 0 ? snapshot.cluster : '', ...cells]);
  });
  return alignColumns([['NAME', 'GPU_TYPE', 'GPUS', 'INSTANCE', 'NODES'], ...rows]);
}

/** Every node takes runs without GPUs as well: those share one row of their own. */
function instanceRow({ name, nodes }: Instance): string[][] {
  const [first] = nodes;
  if (!first || first.gpuType === null || first.gpus === 0) return [];
  return [[first.gpuType, sizes(first.gpus, nodes.length), name, String(nodes.length)]];
}

/** What a run may ask for: any part of a node, or whole nodes: `≤8,16,...,80`. */
function sizes(gpus: number, nodes: number): string {
  const parts = [gpus > 1 ? `≤${gpus}` : '1'];
  if (nodes > 1) parts.push(String(2 * gpus));
  if (nodes > 3) parts.push('...');
  if (nodes > 2) parts.push(String(nodes * gpus));
  return parts.join(',');
}

/** Details, nodes and their health, and what runs on each. */
export function renderCluster(view: ClusterView, beats: ReadonlyMap<string, NodeBeat>, now: number): string {
  const { snapshot, queued } = view;
  const nodes = snapshot.nodes.toSorted((a, b) => (a.node < b.node ? -1 : 1));
  const total = nodes.reduce((sum, { gpus }) => sum + gpus, 0);
  const used = nodes.reduce((sum, node) => sum + useOf(snapshot, node.node).gpus, 0);
  const details = alignColumns([
    ['Name', snapshot.cluster],
    ['Total Nodes', String(nodes.length)],
    ['Total GPUs', String(total)],
    ['GPUs Used', String(used)],
    ['Active Runs', String(snapshot.leases.length)],
    ['Queued Runs', String(queued)],
  ]);
  const sections = [`Cluster Details\n${details}`];
  if (nodes.length > 0) sections.push(`Node Details\n${nodeTable(snapshot, nodes)}`);
  if (beats.size > 0) sections.push(`Node Health\n${healthTable(nodes, beats, now)}`);
  const running = nodes.flatMap(({ node }) => leasesOn(snapshot, node).map((lease) => ({ node, lease })));
  if (running.length > 0) sections.push(`Runs by Node\n${runTable(running)}`);
  return sections.join('\n\n');
}

function nodeTable(snapshot: ClusterSnapshot, nodes: readonly ClusterNode[]): string {
  return renderTable<ClusterNode>(
    [
      { head: 'NAME', value: ({ node }) => node },
      { head: 'GPU_TYPE', value: ({ gpuType }) => gpuType ?? 'none' },
      { head: 'GPUS', value: ({ gpus }) => String(gpus) },
      { head: 'USED', value: ({ node }) => String(useOf(snapshot, node).gpus) },
      {
        head: 'CPU_SLOTS',
        value: ({ node, cpuSlots }) => `${useOf(snapshot, node).cpuSlots}/${cpuSlots}`,
      },
      { head: 'STATUS', value: ({ alive }) => (alive ? 'Alive' : 'Dead') },
      { head: 'SCHEDULABLE', value: schedulable },
    ],
    nodes,
  );
}

function schedulable({ alive, cordoned, cordonReason }: ClusterNode): string {
  if (cordoned) return `no (cordoned${cordonReason === undefined ? '' : `: ${cordonReason}`})`;
  return alive ? 'yes' : 'no';
}

function healthTable(
  nodes: readonly ClusterNode[],
  beats: ReadonlyMap<string, NodeBeat>,
  now: number,
): string {
  const from =
    (tell: (health: NodeHealth) => string) =>
    ({ node }: ClusterNode): string => {
      const health = beats.get(node)?.health;
      return health ? tell(health) : '-';
    };
  return renderTable<ClusterNode>(
    [
      { head: 'NAME', value: ({ node }) => node },
      {
        head: 'HEARTBEAT',
        value: ({ node }) => {
          const at = beats.get(node)?.at;
          return at ? `${displayDuration(now - at.getTime())} ago` : '-';
        },
      },
      { head: 'LOAD', value: from(({ load, cpus }) => `${load.toFixed(1)} on ${cpus} CPUs`) },
      {
        head: 'MEMORY',
        value: from(
          ({ memoryFreeBytes, memoryBytes }) =>
            `${displayBytes(memoryFreeBytes)} of ${displayBytes(memoryBytes)} free`,
        ),
      },
      {
        head: 'DISK',
        value: from(({ disk }) =>
          disk ? `${Math.floor(disk.usedPercent)}% used, ${displayBytes(disk.freeBytes)} free` : '-',
        ),
      },
      // Last, because each is as long as a sentence.
      { head: 'PROBLEMS', value: from((health) => healthProblems(health).join(' ') || 'none') },
    ],
    nodes,
  );
}

function runTable(rows: readonly { readonly node: string; readonly lease: Lease }[]): string {
  return renderTable<(typeof rows)[number]>(
    [
      { head: 'NODE', value: ({ node }) => node },
      { head: 'RUN_NAME', value: ({ lease }) => lease.request.run },
      { head: 'USER', value: ({ lease }) => lease.request.user },
      { head: 'GPU_IDS', value: ({ node, lease }) => gpuIdsOn(lease, node).join(',') || '-' },
      { head: 'PRIORITY', value: ({ lease }) => lease.request.priority },
      { head: 'PREEMPTIBLE', value: ({ lease }) => (lease.request.preemptible ? 'yes' : 'no') },
    ],
    rows,
  );
}

/** The documented shape of `mcli get clusters -o json`: numbers as numbers, `gpuType` null on a node without GPUs. */
export function clusterAsJson({ snapshot, queued }: ClusterView) {
  return {
    name: snapshot.cluster,
    activeRuns: snapshot.leases.length,
    queuedRuns: queued,
    nodes: snapshot.nodes
      .toSorted((a, b) => (a.node < b.node ? -1 : 1))
      .map((node) => {
        const used = useOf(snapshot, node.node);
        return {
          name: node.node,
          address: node.address,
          instance: instanceName(node),
          gpuType: node.gpuType,
          gpus: node.gpus,
          gpusUsed: used.gpus,
          cpuSlots: node.cpuSlots,
          cpuSlotsUsed: used.cpuSlots,
          alive: node.alive,
          cordoned: node.cordoned,
          cordonReason: node.cordonReason ?? null,
          runs: leasesOn(snapshot, node.node).map((lease) => ({
            name: lease.request.run,
            resumption: lease.request.resumption,
            gpuIds: gpuIdsOn(lease, node.node),
          })),
        };
      }),
  };
}

/** The documented shape of `mcli describe cluster -o json`: that of the list, and how the nodes are. */
export function clusterWithHealthAsJson(
  view: ClusterView,
  beats: ReadonlyMap<string, NodeBeat>,
): Record<string, unknown> {
  const cluster = clusterAsJson(view);
  return {
    ...cluster,
    nodes: cluster.nodes.map((node) => {
      const beat = beats.get(node.name);
      return {
        ...node,
        lastHeartbeatAt: beat?.at.toISOString() ?? null,
        health: beat?.health ? healthAsJson(beat.health) : null,
      };
    }),
  };
}

function healthAsJson(health: NodeHealth): Record<string, unknown> {
  const { sampledAt, disk, dockerError, leaseError, gpus, ...rest } = health;
  return {
    sampledAt: iso(sampledAt),
    ...rest,
    disk: disk ?? null,
    dockerError: dockerError ?? null,
    leaseError: leaseError ?? null,
    gpusSeen: gpus?.seen ?? null,
    problems: healthProblems(health),
  };
}

/** Names of the runs that hold something of the node. */
export function runsOn(snapshot: ClusterSnapshot, node: string): string[] {
  return leasesOn(snapshot, node).map(({ request }) => request.run);
}

/** What leases hold of the node. */
export function useOf(snapshot: ClusterSnapshot, node: string): { gpus: number; cpuSlots: number } {
  const shares = leasesOn(snapshot, node).flatMap(({ ranks }) => ranks.filter((rank) => rank.node === node));
  return {
    gpus: shares.reduce((sum, { gpuIds }) => sum + gpuIds.length, 0),
    cpuSlots: shares.filter(({ gpuIds }) => gpuIds.length === 0).length,
  };
}

function leasesOn(snapshot: ClusterSnapshot, node: string): Lease[] {
  return snapshot.leases.filter(({ ranks }) => ranks.some((rank) => rank.node === node));
}

function gpuIdsOn(lease: Lease, node: string): readonly number[] {
  return lease.ranks.filter((rank) => rank.node === node).flatMap(({ gpuIds }) => gpuIds);
}
