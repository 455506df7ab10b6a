/** What waiting runs are told: place, reason and expected start. */
import { outlived } from './estimates.ts';
import type { Estimate } from './estimates.ts';
import { freedBy, playForward } from './forecast.ts';
import type { Return } from './forecast.ts';
import type { ClusterNode } from './cluster.ts';
import type { Obstacle } from './obstacle.ts';
import type { Waiting } from './ordering.ts';
import { fitsNow, sizeOf } from './placement.ts';
import type { Pool } from './placement.ts';
import { count, duration, names } from './phrases.ts';
import type { Held, Planning } from './planning.ts';

export interface Wait {
  readonly type: 'WAIT';
  readonly run: string;
  readonly resumption: number;
  /** 1 is the head of the queue. */
  readonly position: number;
  /** One sentence for people. */
  readonly reason: string;
  /** Epoch milliseconds; absent where nobody can tell. */
  readonly expectedStart?: { readonly from: number; readonly to: number };
}

/** One decision for each run that waits, in queue order. */
export function describeWaits(planning: Planning): Wait[] {
  const outlooks = new Map<string | null, Outlook>();
  return planning.held.map((held, i) => {
    const { demand, request } = held.waiting;
    let outlook = outlooks.get(demand.pool);
    if (outlook === undefined) outlooks.set(demand.pool, (outlook = new Outlook(planning, demand.pool)));
    const reason = outlook.reason(held);
    const band = held.obstacle.type === 'no-such-nodes' ? undefined : outlook.nextBand();
    // The forecast counts GPUs of the whole pool; of those on named nodes it knows nothing.
    const expectedStart = demand.nodeNames.length > 0 ? undefined : band;
    const { run, resumption } = request;
    const position = i + 1;
    return expectedStart === undefined
      ? { type: 'WAIT', run, resumption, position, reason }
      : { type: 'WAIT', run, resumption, position, reason, expectedStart };
  });
}

/** What can be said about one pool and the runs that wait for it. */
class Outlook {
  readonly #planning: Planning;
  readonly #pool: Pool | undefined;
  /** Leases by the end that is usual for their like. */
  readonly #usual: readonly Return[];
  /** Units held, by class of the holder. */
  readonly #heldByClass: number[] = [];
  readonly #reasons = new Map<Obstacle, Map<number, string>>();
  readonly #earliest: Float64Array;
  readonly #latest: Float64Array;
  #told = 0;

  constructor(planning: Planning, name: string | null) {
    const { now, runTimes, capacity } = planning;
    this.#planning = planning;
    this.#pool = capacity.pools.get(name);
    const tenants = this.#pool?.tenants ?? [];
    for (const { classRank, request } of tenants) {
      this.#heldByClass[classRank] = (this.#heldByClass[classRank] ?? 0) + sizeOf(request);
    }
    this.#usual = tenants
      .map((tenant) => {
        const { request, grantedAt, leaving } = tenant;
        const usualEnd = grantedAt + outlived(runTimes.usualMs(request), now - grantedAt);
        return { units: sizeOf(request), at: leaving ? capacity.endOf(tenant) : usualEnd };
      })
      .sort(byTime);
    const planned = tenants
      .map((tenant) => {
        const end = capacity.endOf(tenant);
        const limited = tenant.leaving || tenant.request.maxDurationMs !== undefined;
        return { units: sizeOf(tenant.request), at: limited ? end : now + DOUBT * (end - now) };
      })
      .sort(byTime);
    // Plain loops over flat arrays: ten thousand runs wait on a busy cluster, and every plan comes by here.
    const length = planning.held.length;
    const units = new Float64Array(length);
    const usualMs = new Float64Array(length);
    const plannedMs = new Float64Array(length);
    let told = 0;
    for (const { waiting, obstacle } of planning.held) {
      if (waiting.demand.pool !== name || obstacle.type === 'no-such-nodes') continue;
      units[told] = waiting.demand.size;
      usualMs[told] = runTimes.usualMs(waiting.request);
      plannedMs[told] = doubted(waiting.estimate);
      told += 1;
    }
    const free = this.#pool?.free ?? 0;
    this.#earliest = playForward(now, free, this.#usual, { length: told, units, ms: usualMs });
    this.#latest = playForward(now, free, planned, { length: told, units, ms: plannedMs });
  }

  /** The band of the next run in queue order that the pool could take; undefined where it would never start. */
  nextBand(): { from: number; to: number } | undefined {
    const i = this.#told++;
    const from = this.#earliest[i] ?? Infinity;
    const to = this.#latest[i] ?? Infinity;
    if (from === Infinity || to === Infinity) return undefined;
    const { now } = this.#planning;
    return { from: Math.round(now + EARLY * (Math.min(from, to) - now)), to: Math.round(Math.max(from, to)) };
  }

  /** Runs of one shape and class with one obstacle are told the same: ten thousand sentences would outlast the plan. */
  reason(held: Held): string {
    const { demand, classRank } = held.waiting;
    if (demand.nodeNames.length > 0) return this.#phrase(held);
    let told = this.#reasons.get(held.obstacle);
    if (told === undefined) this.#reasons.set(held.obstacle, (told = new Map()));
    const key = (demand.units * 1_000_000 + demand.nodes) * 10 + classRank;
    let reason = told.get(key);
    if (reason === undefined) told.set(key, (reason = this.#phrase(held)));
    return reason;
  }

  #phrase({ waiting, obstacle }: Held): string {
    const { demand, request, classRank } = waiting;
    const { now, snapshot } = this.#planning;
    const pool = this.#pool;
    const free = pool?.free ?? 0;
    const { size } = demand;
    const unit = request.gpus === 0 ? 'CPU slot' : 'GPU';
    const what = `Waiting for ${count(size, unit)}${demand.nodes > 1 ? ` on ${demand.nodes} nodes` : ''}`;
    const where = `${free} free on ${snapshot.cluster}`;
    switch (obstacle.type) {
      case 'no-such-nodes': {
        const each = `${demand.nodes > 1 ? `${demand.nodes} nodes` : 'a node'} with ${count(demand.units, unit)}`;
        const named = demand.nodeNames.length > 0 ? ` among ${names(demand.nodeNames)}` : '';
        return `${what}: no node in service offers ${unit}s of its kind, or too few; it needs ${each}${named} that is alive and not cordoned${outOfService(waiting, snapshot.nodes)}`;
      }
      case 'higher-priority': {
        const { run, priority } = obstacle.run;
        return `${what}: ${where}; ${run} (${priority}) has higher priority, asks for no more and goes first`;
      }
      case 'reserved': {
        const { run, priority } = obstacle.for;
        const when = duration(obstacle.startsAt - now);
        return `${what}: ${where}, kept for ${run} (${priority}), which is ahead and expected to start in about ${when}`;
      }
      case 'clearing': {
        const victims = obstacle.victims.length > 0 ? `: ${names(obstacle.victims)}` : '';
        return `${what}: ${where}; preemptible runs of lower priority are giving way${victims}`;
      }
      case 'too-little-free': {
        if (demand.nodeNames.length > 0) {
          return `${what}: it asks for ${names(demand.nodeNames)}, where too few are free; ${where} in all`;
        }
        const missing = size - free;
        if (pool !== undefined && (missing <= 0 || fitsNow(pool, demand))) {
          const scattered = demand.nodes > 1 ? `${demand.nodes} nodes have` : 'node has';
          return `${what}: ${where}, but no ${scattered} ${count(demand.units, unit)} free`;
        }
        const held = this.#heldByClass.slice(0, classRank + 1).reduce((sum, units) => sum + units, 0);
        const lower = this.#heldByClass.reduce((sum, units) => sum + units, 0) - held;
        const holders = [
          ...(held > 0 ? [`${held} held by runs of equal or higher priority`] : []),
          ...(lower > 0 ? [`${lower} held by runs of lower priority that may not be preempted for it`] : []),
        ].join(', ');
        const at = freedBy(this.#usual, missing);
        const next =
          at === Infinity ? '' : `, the next ${missing} expected free in about ${duration(at - now)}`;
        return `${what}: ${where}; ${holders}${next}`;
      }
    }
  }
}

/** Which nodes would do, were they in service: `; node-3 is cordoned; node-5 is lost`. */
function outOfService({ request, demand }: Waiting, nodes: readonly ClusterNode[]): string {
  const suitable = nodes.filter(
    ({ node, gpuType, gpus, cpuSlots }) =>
      (request.gpus === 0 ? cpuSlots >= demand.units : gpuType === request.gpuType && gpus >= demand.units) &&
      (demand.nodeNames.length === 0 || demand.nodeNames.includes(node)),
  );
  const told = (out: readonly ClusterNode[], state: string): string => {
    const verb = out.length === 1 ? 'is' : 'are';
    return out.length === 0 ? '' : `; ${names(out.map(({ node }) => node))} ${verb} ${state}`;
  };
  const lost = suitable.filter(({ alive }) => !alive);
  return (
    told(
      suitable.filter(({ alive, cordoned }) => alive && cordoned),
      'cordoned',
    ) + told(lost, 'lost')
  );
}

/**
 * The earliest start counts on the order of the queue, but whoever fits a gap starts long before that: a tenth of the
 * time is where eight in ten runs of the logs in docs/scheduling.md start inside their band.
 */
const EARLY = 0.1;

/** A guess may be half of what it takes; a limit is kept. */
const DOUBT = 2;

function doubted({ ms, guessed }: Estimate): number {
  return guessed ? DOUBT * ms : ms;
}

function byTime(a: Return, b: Return): number {
  return a.at - b.at;
}
