/**
 * What would start a queued run now: single changes, each tried on the planner itself, so that nothing is promised
 * that the cluster would not do.
 */
import type { CapacityRequest, ClusterSnapshot } from './cluster.ts';
import type { RunTimeHistory } from './estimates.ts';
import { PRIORITIES, priorityRank } from './priority.ts';
import type { Priority } from './priority.ts';
import { resolveResources } from './resources.ts';
import type { RunSpec } from './run-spec.ts';
import { plan } from './scheduler.ts';

export interface PlannedCluster {
  readonly snapshot: ClusterSnapshot;
  readonly history: RunTimeHistory;
}

export interface Patient {
  readonly request: CapacityRequest;
  readonly spec: RunSpec;
  /** The cluster in whose queue it is. */
  readonly home: PlannedCluster;
  readonly others: readonly PlannedCluster[];
  /** Epoch milliseconds. */
  readonly now: number;
}

/** One change that is enough. */
export type Remedy = { readonly givingWay: readonly string[] } & Change;

type Change =
  /** Made on the queued run itself. */
  | { readonly type: 'max-duration'; readonly hours: number }
  | { readonly type: 'priority'; readonly priority: Priority }
  /** Made on a clone, which goes to the end of its class. */
  | { readonly type: 'gpus'; readonly gpus: number }
  | { readonly type: 'gpu-type' | 'cluster'; readonly cluster: string; readonly gpuType: string };

/** The smallest change of each kind that starts the run now; empty where none does. */
export function remedies(patient: Patient): Remedy[] {
  return [shorter(patient), smaller(patient), ...elsewhere(patient), moreUrgent(patient)].flatMap(
    (remedy) => remedy ?? [],
  );
}

/** The longest of some round limits that lets the run go ahead of a reservation. */
function shorter({ request, home, now }: Patient): Remedy | undefined {
  // Of a run that has run before, the limit counts from its first start.
  if (request.resumption > 0) return undefined;
  const limit = request.maxDurationMs ?? Infinity;
  for (const hours of LIMITS_HOURS) {
    const maxDurationMs = hours * 3_600_000;
    if (maxDurationMs >= limit) continue;
    const givingWay = startsNow(home, request.run, { ...request, maxDurationMs }, now);
    if (givingWay) return { type: 'max-duration', hours, givingWay };
  }
  return undefined;
}

/** The most GPUs that start now, in the shape that construction would give them. */
function smaller(patient: Patient): Remedy | undefined {
  const { request, home, now } = patient;
  const perNode = request.nodes > 1 ? request.gpusPerNode : 1;
  for (
    let gpus = request.gpus - perNode, tries = 0;
    gpus > 0 && tries < MAX_TRIES;
    gpus -= perNode, tries++
  ) {
    const clone = cloneFor(patient, home, { gpus, gpuType: request.gpuType });
    const givingWay = clone && startsNow(home, request.run, clone, now);
    if (givingWay) return { type: 'gpus', gpus, givingWay };
  }
  return undefined;
}

/** The same on nodes of another type, or on another cluster. */
function elsewhere(patient: Patient): Remedy[] {
  const { request, home, others, now } = patient;
  return [home, ...others].flatMap((place) => {
    const { cluster, nodes } = place.snapshot;
    const types =
      request.gpus === 0 ? [null] : [...new Set(nodes.flatMap(({ gpuType }) => gpuType ?? []))].sort();
    return types
      .filter((gpuType) => place !== home || gpuType !== request.gpuType)
      .flatMap((gpuType): Remedy[] => {
        const clone = cloneFor(patient, place, { gpus: request.gpus, gpuType });
        const givingWay = clone && startsNow(place, request.run, clone, now);
        const type = place === home ? 'gpu-type' : 'cluster';
        return givingWay ? [{ type, cluster, gpuType: gpuType ?? 'none', givingWay }] : [];
      });
  });
}

/** The lowest class above its own that is enough. */
function moreUrgent({ request, home, now }: Patient): Remedy | undefined {
  const above = PRIORITIES.slice(0, priorityRank(request.priority)).toReversed();
  for (const priority of above) {
    const givingWay = startsNow(home, request.run, { ...request, priority }, now);
    if (givingWay) return { type: 'priority', priority, givingWay };
  }
  return undefined;
}

/** What `mcli run --clone` would ask for; undefined where it would be refused. */
function cloneFor(
  { request, spec, now }: Patient,
  { snapshot }: PlannedCluster,
  { gpus, gpuType }: { readonly gpus: number; readonly gpuType: string | null },
): CapacityRequest | undefined {
  const compute = { cluster: snapshot.cluster, gpus, ...(gpuType === null ? {} : { gpuType }) };
  const answer = resolveResources({ ...spec, compute }, [snapshot]);
  return answer.ok ? { ...request, ...answer.resources, resumption: 0, createdAt: now } : undefined;
}

/** The runs that would give way when `request` stands in the place of the run; undefined when it would wait. */
function startsNow(
  { snapshot, history }: PlannedCluster,
  run: string,
  request: CapacityRequest,
  now: number,
): readonly string[] | undefined {
  const queue = [...snapshot.queue.filter((other) => other.run !== run), request];
  const decisions = plan({ ...snapshot, queue }, now, history);
  const victims = decisions.flatMap((decision) =>
    decision.type === 'PREEMPT' && decision.inFavourOf === run ? [decision.run] : [],
  );
  const admitted = decisions.some((decision) => decision.type === 'ADMIT' && decision.request.run === run);
  return admitted || victims.length > 0 ? victims : undefined;
}

/** Limits that people write, longest first. */
const LIMITS_HOURS = [72, 48, 24, 12, 8, 6, 4, 3, 2, 1.5, 1, 0.5, 0.25];
/** A plan of ten thousand runs takes 20 ms: a person waits a second or two for all tries together. */
const MAX_TRIES = 64;
