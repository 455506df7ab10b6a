/** `mcli util`: what is used, who runs, who waits and why. */
import type { CapacityRequest, Lease } from '../../core/cluster.ts';
import { learnedRunTime, outlived } from '../../core/estimates.ts';
import type { RunTimeHistory } from '../../core/estimates.ts';
import type { ClusterView, QueuePosition } from '../../workflows/messages.ts';
import { instancesOf, useOf } from './clusters.ts';
import { renderTable } from './table.ts';
import type { Column } from './table.ts';
import { displayDuration, iso } from './time.ts';

/** Four tables; empty ones are left out, except the first. */
export function renderUtil(views: readonly ClusterView[], now: number): string {
  const several = views.length > 1;
  const usages = views.map((view) => usageOf(view, now));
  const instances = usages.flatMap(({ instances }) => instances);
  const active = usages.flatMap(({ activeRuns }) => activeRuns);
  const queued = usages.flatMap(({ queuedRuns }) => queuedRuns);
  const title = (text: string): string => `${text}${several ? ' by Cluster' : ''}:`;
  const inCluster = <Row extends { readonly cluster: string }>(columns: Column<Row>[]): Column<Row>[] =>
    several ? [{ head: 'NAME', value: ({ cluster }) => cluster }, ...columns] : columns;

  const sections = [
    [title('Training Instances'), renderTable(INSTANCE_COLUMNS, instances)],
    ...[false, true].map((preemptible) => {
      const runs = active.filter((run) => run.preemptible === preemptible);
      const name = preemptible ? 'Active Preemptible Runs' : 'Active Non-Preemptible Runs';
      return [title(name), runs.length > 0 ? renderTable(inCluster(activeColumns(now)), runs) : ''];
    }),
    [title('Queued Runs'), queued.length > 0 ? renderTable(inCluster(queuedColumns(now)), queued) : ''],
  ];
  return sections
    .filter(([, table]) => table !== '')
    .map((lines) => lines.join('\n'))
    .join('\n\n');
}

/** The documented shape of one cluster in `mcli util -o json`: ISO 8601 times in UTC, `null` where none is known. */
export function utilAsJson(view: ClusterView, now: number): Record<string, unknown> {
  const { cluster, instances, activeRuns, queuedRuns } = usageOf(view, now);
  return {
    cluster,
    instances: instances.map(withoutCluster),
    activeRuns: activeRuns.map(withoutCluster).map((run) => ({
      ...run,
      createdAt: iso(run.createdAt),
      startedAt: iso(run.startedAt),
      expectedEnd: iso(run.expectedEnd),
    })),
    queuedRuns: queuedRuns.map(withoutCluster).map(({ expectedStart, ...run }) => ({
      ...run,
      createdAt: iso(run.createdAt),
      expectedStart: expectedStart && { from: iso(expectedStart.from), to: iso(expectedStart.to) },
    })),
  };
}

/** In JSON the cluster is said once, around its rows. */
function withoutCluster<Row extends { readonly cluster: string }>(row: Row): Omit<Row, 'cluster'> {
  const { cluster: _cluster, ...rest } = row;
  return rest;
}

/** All times in epoch milliseconds. */
interface ClusterUsage {
  readonly cluster: string;
  readonly instances: readonly InstanceUsage[];
  readonly activeRuns: readonly ActiveRun[];
  readonly queuedRuns: readonly QueuedRun[];
}

interface InstanceUsage {
  readonly cluster: string;
  readonly instance: string;
  readonly nodes: number;
  /** Lost or cordoned: their free GPUs are not available. */
  readonly nodesOutOfService: number;
  readonly gpusAvailable: number;
  readonly gpusUsed: number;
  readonly gpusTotal: number;
}

interface ListedRun {
  readonly cluster: string;
  readonly name: string;
  readonly user: string;
  readonly resumption: number;
  readonly gpus: number;
  readonly priority: string;
  readonly preemptible: boolean;
  readonly createdAt: number;
}

interface ActiveRun extends ListedRun {
  readonly nodes: readonly string[];
  readonly startedAt: number;
  readonly expectedEnd: number | null;
}

interface QueuedRun extends ListedRun {
  /** Null until the next plan. */
  readonly position: number | null;
  readonly reason: string | null;
  readonly expectedStart: { readonly from: number; readonly to: number } | null;
}

function usageOf(view: ClusterView, now: number): ClusterUsage {
  const { snapshot, history } = view;
  const { cluster } = snapshot;
  const places = new Map(view.waiting.map((place) => [`${place.run}/${place.resumption}`, place]));
  return {
    cluster,
    instances: instanceUsages(view),
    activeRuns: snapshot.leases
      .map((lease) => activeRun(cluster, lease, history, now))
      .sort((a, b) => a.startedAt - b.startedAt),
    queuedRuns: snapshot.queue
      .map((request) => queuedRun(cluster, request, places.get(`${request.run}/${request.resumption}`)))
      .sort((a, b) => (a.position ?? Infinity) - (b.position ?? Infinity)),
  };
}

function instanceUsages({ snapshot }: ClusterView): InstanceUsage[] {
  return instancesOf(snapshot.nodes).map(({ name, nodes }) => {
    const used = (node: string): number => useOf(snapshot, node).gpus;
    const inService = nodes.filter(({ alive, cordoned }) => alive && !cordoned);
    return {
      cluster: snapshot.cluster,
      instance: name,
      nodes: nodes.length,
      nodesOutOfService: nodes.length - inService.length,
      gpusAvailable: inService.reduce((sum, { node, gpus }) => sum + gpus - used(node), 0),
      gpusUsed: nodes.reduce((sum, { node }) => sum + used(node), 0),
      gpusTotal: nodes.reduce((sum, { gpus }) => sum + gpus, 0),
    };
  });
}

function activeRun(cluster: string, lease: Lease, history: RunTimeHistory, now: number): ActiveRun {
  return {
    ...listedRun(cluster, lease.request),
    nodes: [...new Set(lease.ranks.map(({ node }) => node))],
    startedAt: lease.grantedAt,
    expectedEnd: expectedEnd(lease, history, now),
  };
}

/** From the run's limit and from what runs like it took; null where there is neither. */
function expectedEnd({ request, grantedAt }: Lease, history: RunTimeHistory, now: number): number | null {
  const runMs = Math.min(learnedRunTime(history, request) ?? Infinity, request.maxDurationMs ?? Infinity);
  return runMs === Infinity ? null : grantedAt + outlived(runMs, now - grantedAt);
}

function queuedRun(cluster: string, request: CapacityRequest, place: QueuePosition | undefined): QueuedRun {
  return {
    ...listedRun(cluster, request),
    position: place?.position ?? null,
    reason: place?.reason ?? null,
    expectedStart: place?.expectedStart ?? null,
  };
}

function listedRun(cluster: string, request: CapacityRequest): ListedRun {
  const { run: name, user, resumption, gpus, priority, preemptible, createdAt } = request;
  return { cluster, name, user, resumption, gpus, priority, preemptible, createdAt };
}

const INSTANCE_COLUMNS: readonly Column<InstanceUsage>[] = [
  { head: 'NAME', value: ({ cluster }) => cluster },
  { head: 'NODE_INFO', value: ({ instance }) => instance },
  {
    head: 'NODES',
    value: ({ nodes, nodesOutOfService: out }) => `${nodes}${out > 0 ? ` (${out} out of service)` : ''}`,
  },
  { head: 'GPUS_AVAILABLE', value: ({ gpusAvailable }) => String(gpusAvailable) },
  { head: 'GPUS_USED', value: ({ gpusUsed }) => String(gpusUsed) },
  { head: 'GPUS_TOTAL', value: ({ gpusTotal }) => String(gpusTotal) },
];

function activeColumns(now: number): Column<ActiveRun>[] {
  return [
    ...runColumns<ActiveRun>(now),
    {
      head: 'ETA',
      value: ({ expectedEnd }) => (expectedEnd === null ? '-' : displayDuration(expectedEnd - now)),
    },
  ];
}

function queuedColumns(now: number): Column<QueuedRun>[] {
  return [
    { head: 'POS', value: ({ position }) => String(position ?? '-') },
    ...runColumns<QueuedRun>(now),
    { head: 'EXPECTED_START', value: ({ expectedStart }) => displayBand(expectedStart, now) },
    // Last, because it is as long as a sentence.
    { head: 'REASON', value: ({ reason }) => reason ?? '-' },
  ];
}

function runColumns<Row extends ListedRun>(now: number): Column<Row>[] {
  return [
    { head: 'RUN_NAME', value: ({ name }) => name },
    { head: 'USER', value: ({ user }) => user },
    { head: 'AGE', value: ({ createdAt }) => displayDuration(now - createdAt) },
    { head: 'GPUS', value: ({ gpus }) => String(gpus) },
    { head: 'PRIORITY', value: ({ priority }) => priority },
  ];
}

/** `in 40min to 2hr`; `-` where nobody can tell. */
export function displayBand(
  band: { readonly from: number; readonly to: number } | null | undefined,
  now: number,
): string {
  if (!band) return '-';
  const [from, to] = [displayDuration(band.from - now), displayDuration(band.to - now)];
  return `in ${from === to ? from : `${from} to ${to}`}`;
}
