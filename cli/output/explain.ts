/** `mcli explain`: sentences and JSON. */
import type { CapacityRequest } from '../../core/cluster.ts';
import type { Ahead, Change, CloneCompute, Explanation, Holder } from '../../core/explain.ts';
import { count } from '../../core/phrases.ts';
import { renderTable } from './table.ts';
import type { Column } from './table.ts';
import { displayDuration, iso } from './time.ts';
import { displayBand } from './util.ts';

export interface ExplainedRun extends Explanation {
  readonly cluster: string;
  /** Runs in the queue, of all kinds. */
  readonly queued: number;
}

export function renderExplanation(explained: ExplainedRun, now: number): string {
  const { request, cluster, position, queued, expectedStart, reason, ahead, holders } = explained;
  const head = [
    `Run ${request.run} (${sizeText(request)}, priority ${request.priority}) waits on ${cluster}, position ${position} of ${queued}.`,
    `Queued for      ${displayDuration(now - request.createdAt)}`,
    `Expected start  ${displayBand(expectedStart, now)}`,
    `Why             ${reason}`,
  ].join('\n');
  const sections = [
    head,
    ahead.length > 0
      ? `Ahead of it:\n${shortTable(AHEAD_COLUMNS, ahead)}`
      : 'Nobody is ahead of it in the queue for this kind of capacity.',
    holders.length > 0 ? `This kind of capacity is held by:\n${shortTable(holderColumns(now), holders)}` : '',
    changesText(explained),
  ];
  return sections.filter(Boolean).join('\n\n');
}

/** More than these are only counted. */
const MAX_ROWS = 10;

function shortTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const more = rows.length > MAX_ROWS ? `\n… and ${rows.length - MAX_ROWS} more: mcli util` : '';
  return renderTable(columns, rows.slice(0, MAX_ROWS)) + more;
}

const RUN_COLUMNS: readonly Column<{ readonly request: CapacityRequest }>[] = [
  { head: 'RUN_NAME', value: ({ request }) => request.run },
  { head: 'USER', value: ({ request }) => request.user },
  { head: 'GPUS', value: ({ request }) => String(request.gpus) },
  { head: 'PRIORITY', value: ({ request }) => request.priority },
];

const AHEAD_COLUMNS: readonly Column<Ahead>[] = [
  { head: 'POS', value: ({ position }) => String(position) },
  ...RUN_COLUMNS,
  { head: 'WHY_AHEAD', value: ({ why }) => why },
];

function holderColumns(now: number): Column<Holder>[] {
  return [...RUN_COLUMNS, { head: 'ETA', value: ({ expectedEnd }) => displayDuration(expectedEnd - now) }];
}

function changesText({ changes, request }: ExplainedRun): string {
  if (changes.length === 0) {
    return 'No single change would start it now: a shorter limit, other nodes, fewer GPUs, another GPU type, another cluster and a higher priority were tried on the planner.';
  }
  const lines = changes.map((change) => {
    const wait = change.givingWay.length > 0 ? `, once ${change.givingWay.join(', ')} gave way` : '';
    return `- ${changeText(change)}${wait}: ${commandFor(change, request.run)}`;
  });
  return `Any of these would start it now (tried on the planner):\n${lines.join('\n')}`;
}

function changeText(change: Change): string {
  switch (change.type) {
    case 'max-duration':
      return `a max duration of ${change.hours} h`;
    case 'priority':
      return `priority ${change.priority}`;
    case 'any-node':
      return 'any node instead of those that it names';
    case 'gpus': {
      const { gpus, nodes } = change.compute;
      return `${count(gpus, 'GPU')}${nodes === undefined ? '' : ` on ${count(nodes, 'node')}`}`;
    }
    case 'gpu-type':
      return `GPUs of type ${change.compute.gpuType}`;
    case 'cluster':
      return `cluster ${change.compute.cluster} with GPU type ${change.compute.gpuType}`;
  }
}

function commandFor(change: Change, run: string): string {
  switch (change.type) {
    case 'max-duration':
      return `mcli update run ${run} --max-duration ${change.hours}`;
    case 'priority':
      return `mcli update run ${run} --priority ${change.priority}`;
    default:
      return `mcli run --clone ${run} --no-follow ${flagsOf(change.compute)} && mcli stop run ${run}`;
  }
}

/** All of it, also what stays: what the file leaves open could be read in several ways. */
function flagsOf({ cluster, gpuType, gpus, nodes, nodeNames }: CloneCompute): string {
  return [
    `--cluster ${cluster} --gpu-type ${gpuType} --gpus ${gpus}`,
    ...(nodes === undefined ? [] : [`--nodes ${nodes}`]),
    ...(nodeNames === undefined ? [] : [`--node-names '${nodeNames.join(',')}'`]),
  ].join(' ');
}

function sizeText({ gpus, nodes, gpuType }: CapacityRequest): string {
  if (gpus === 0) return nodes > 1 ? `${nodes} CPU slots` : 'a CPU slot';
  const spread = nodes > 1 ? ` on ${nodes} nodes` : '';
  return `${gpus} ${gpuType ?? ''} GPU${gpus === 1 ? '' : 's'}${spread}`;
}

/** The documented shape of `mcli explain -o json`. */
export function explanationAsJson(explained: ExplainedRun): Record<string, unknown> {
  const { request, cluster, position, queued, obstacle, reason, expectedStart } = explained;
  return {
    name: request.run,
    cluster,
    gpuType: request.gpuType,
    gpus: request.gpus,
    nodes: request.nodes,
    priority: request.priority,
    position,
    queuedRuns: queued,
    obstacle: obstacle.type,
    reason,
    expectedStart: expectedStart ? { from: iso(expectedStart.from), to: iso(expectedStart.to) } : null,
    ahead: explained.ahead.map(({ position, request: other, why }) => ({
      position,
      ...listed(other),
      why,
    })),
    holders: explained.holders.map(({ request: holder, expectedEnd }) => ({
      ...listed(holder),
      expectedEnd: iso(expectedEnd),
    })),
    startsNowWith: explained.changes.map((change) => ({
      ...flattened(change),
      command: commandFor(change, request.run),
    })),
  };
}

function listed({ run: name, user, gpus, priority }: CapacityRequest): Record<string, unknown> {
  return { name, user, gpus, priority };
}

function flattened(change: Change): Record<string, unknown> {
  if (!('compute' in change)) return change;
  const { compute, ...rest } = change;
  return { ...rest, ...compute };
}
