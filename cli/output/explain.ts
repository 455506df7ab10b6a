/** `mcli explain`: sentences and JSON. */
import type { CapacityRequest } from '../../core/cluster.ts';
import type { Remedy } from '../../core/remedies.ts';
import type { QueuePosition } from '../../workflows/messages.ts';
import { renderTable } from './table.ts';
import { displayDuration } from './time.ts';
import { displayBand } from './util.ts';

export interface Explanation {
  readonly request: CapacityRequest;
  readonly cluster: string;
  readonly place: QueuePosition;
  /** Runs in the queue, of all kinds. */
  readonly queued: number;
  readonly ahead: readonly { readonly place: QueuePosition; readonly request: CapacityRequest }[];
  readonly remedies: readonly Remedy[];
}

export function renderExplanation(explanation: Explanation, now: number): string {
  const { request, cluster, place, queued, ahead } = explanation;
  const head = [
    `Run ${request.run} (${size(request)}, priority ${request.priority}) waits on ${cluster}, position ${place.position} of ${queued}.`,
    `Queued for      ${displayDuration(now - request.createdAt)}`,
    `Expected start  ${displayBand(place.expectedStart, now)}`,
    `Why             ${place.reason}`,
  ].join('\n');
  return [head, aheadText(ahead, request), remediesText(explanation)].filter(Boolean).join('\n\n');
}

/** More than these are only counted. */
const MAX_AHEAD = 10;

function aheadText(ahead: Explanation['ahead'], request: CapacityRequest): string {
  if (ahead.length === 0) return 'Nobody is ahead of it in the queue for this kind of capacity.';
  const table = renderTable<Explanation['ahead'][number]>(
    [
      { head: 'POS', value: ({ place }) => String(place.position) },
      { head: 'RUN_NAME', value: ({ request: other }) => other.run },
      { head: 'USER', value: ({ request: other }) => other.user },
      { head: 'GPUS', value: ({ request: other }) => String(other.gpus) },
      { head: 'PRIORITY', value: ({ request: other }) => other.priority },
      { head: 'WHY_AHEAD', value: ({ request: other }) => whyAhead(other, request) },
    ],
    ahead.slice(0, MAX_AHEAD),
  );
  const more = ahead.length > MAX_AHEAD ? `\n… and ${ahead.length - MAX_AHEAD} more: mcli util` : '';
  return `Ahead of it:\n${table}${more}`;
}

/** Across classes the class decides, within one the order of the queue. */
function whyAhead(other: CapacityRequest, request: CapacityRequest): string {
  if (other.priority !== request.priority) return 'higher priority';
  return other.createdAt < request.createdAt
    ? 'same priority, submitted earlier'
    : 'same priority, due earlier';
}

function remediesText({ remedies, request }: Explanation): string {
  if (remedies.length === 0) {
    return 'No single change would start it now: a shorter limit, fewer GPUs, another GPU type, another cluster and a higher priority were tried on the planner.';
  }
  const lines = remedies.map((remedy) => {
    const wait = remedy.givingWay.length > 0 ? `, once ${remedy.givingWay.join(', ')} gave way` : '';
    return `- ${changeText(remedy)}${wait}: ${commandFor(remedy, request.run)}`;
  });
  return `Any of these would start it now (tried on the planner):\n${lines.join('\n')}`;
}

function changeText(remedy: Remedy): string {
  switch (remedy.type) {
    case 'max-duration':
      return `a max duration of ${remedy.hours} h or less`;
    case 'priority':
      return `priority ${remedy.priority}`;
    case 'gpus':
      return `${remedy.gpus} GPUs or fewer`;
    case 'gpu-type':
      return `GPUs of type ${remedy.gpuType}`;
    case 'cluster':
      return `cluster ${remedy.cluster} with GPU type ${remedy.gpuType}`;
  }
}

/** A queued run keeps what it asked for: other resources mean a clone in its place. */
function commandFor(remedy: Remedy, run: string): string {
  const clone = (flags: string): string => `mcli run --clone ${run} ${flags} && mcli stop run ${run}`;
  switch (remedy.type) {
    case 'max-duration':
      return `mcli update run ${run} --max-duration ${remedy.hours}`;
    case 'priority':
      return `mcli update run ${run} --priority ${remedy.priority}`;
    case 'gpus':
      return clone(`--no-follow --gpus ${remedy.gpus}`);
    case 'gpu-type':
    case 'cluster':
      return clone(`--no-follow --cluster ${remedy.cluster} --gpu-type ${remedy.gpuType}`);
  }
}

function size({ gpus, nodes, gpuType }: CapacityRequest): string {
  if (gpus === 0) return nodes > 1 ? `${nodes} CPU slots` : 'a CPU slot';
  const spread = nodes > 1 ? ` on ${nodes} nodes` : '';
  return `${gpus} ${gpuType ?? ''} GPU${gpus === 1 ? '' : 's'}${spread}`;
}

/** The documented shape of `mcli explain -o json`. */
export function explanationAsJson(explanation: Explanation): Record<string, unknown> {
  const { request, cluster, place, queued, ahead, remedies } = explanation;
  return {
    name: request.run,
    cluster,
    gpuType: request.gpuType,
    gpus: request.gpus,
    nodes: request.nodes,
    priority: request.priority,
    position: place.position,
    queuedRuns: queued,
    reason: place.reason,
    expectedStart: place.expectedStart
      ? {
          from: new Date(place.expectedStart.from).toISOString(),
          to: new Date(place.expectedStart.to).toISOString(),
        }
      : null,
    ahead: ahead.map(({ place: { position }, request: other }) => ({
      position,
      name: other.run,
      user: other.user,
      gpus: other.gpus,
      priority: other.priority,
      why: whyAhead(other, request),
    })),
    startsNowWith: remedies.map((remedy) => ({ ...remedy, command: commandFor(remedy, request.run) })),
  };
}
