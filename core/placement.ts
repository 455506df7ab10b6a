/**
 * Where runs can go: the free and held capacity of a cluster while one plan is being made.
 * GPUs of one type, and CPU slots, are pools of their own; a node's share of a pool is a bay. All that follows is the
 * same for both: a run takes `units` in each of `nodes` bays of one pool, all at once or not at all.
 */
import type { CapacityRequest, ClusterNode, ClusterSnapshot, Lease, RankPlacement } from './cluster.ts';
import { classRankOf, compareText } from './ordering.ts';
import type { Demand } from './ordering.ts';

/** A holder of capacity: a lease of the snapshot, or a run that this plan admits. */
export interface Tenant {
  readonly request: CapacityRequest;
  readonly classRank: number;
  readonly grantedAt: number;
  /** True once it was told to give way. */
  leaving: boolean;
  /** When its capacity is expected back; NaN until somebody asks. */
  endsAt: number;
}

/** Whether a class gets the place of a tenant when it asks for it, or without asking. */
export function givesWay({ leaving, request, classRank }: Tenant, askingRank: number): boolean {
  return leaving || (request.preemptible && classRank > askingRank);
}

/** What one tenant has of one bay; a tenant has one rank on a node at most. */
export interface Hold {
  readonly tenant: Tenant;
  readonly units: number;
}

interface Reservation {
  readonly units: number;
  readonly from: number;
  readonly to: number;
}

export interface Bay {
  readonly node: ClusterNode;
  readonly capacity: number;
  /** Units nobody holds now. */
  free: number;
  readonly holds: Hold[];
  readonly reservations: Reservation[];
  /** GPU ids that are taken, one list for each hold. */
  readonly takenIds: (readonly number[])[];
  /** Free units from each moment on; absent until needed and after every change. */
  timeline: Timeline | undefined;
}

/** `free[i]` units are free from `at[i]` to `at[i + 1]`; the last entry lasts for ever. */
interface Timeline {
  readonly at: number[];
  readonly free: number[];
}

export interface Pool {
  /** The GPU type; null for CPU slots. */
  readonly name: string | null;
  /** Bays of nodes that take new runs, by node name. */
  readonly bays: Bay[];
  /** Indices of the bays, the fullest first, bays that are as full by node name. */
  readonly byFree: number[];
  readonly tenants: Tenant[];
  readonly index: Map<Bay, number>;
  readonly byName: Map<string, Bay>;
  /** Free units of all bays. */
  free: number;
}

export function demandOf(request: CapacityRequest): Demand {
  const { gpus, gpuType, nodes, nodeNames } = request;
  const units = gpus === 0 ? 1 : request.gpusPerNode;
  return { pool: poolName(gpus, gpuType), units, nodes, size: units * nodes, nodeNames };
}

/** Units that a lease or request takes over all nodes. */
export function sizeOf({ gpus, nodes }: CapacityRequest): number {
  return gpus === 0 ? nodes : gpus;
}

/** The pools of a snapshot. `endOf` says when a lease is expected to end; it is asked only where that matters. */
export class Capacity {
  readonly pools: ReadonlyMap<string | null, Pool>;
  readonly #endOf: (tenant: Tenant) => number;
  readonly #now: number;

  constructor(snapshot: ClusterSnapshot, now: number, endOf: (tenant: Tenant) => number) {
    this.#now = now;
    this.#endOf = endOf;
    this.pools = poolsOf(snapshot);
  }

  /**
   * Bays that take the demand now and, so far as anybody can tell, until `endsAt`, without touching a reservation.
   * The fullest bays that still do are taken: large holes stay whole.
   */
  place(demand: Demand, endsAt: number): Bay[] | undefined {
    const pool = this.pools.get(demand.pool);
    if (pool === undefined || demand.size > pool.free) return undefined;
    const found: Bay[] = [];
    for (const bay of roomyBays(pool, demand)) {
      if (bay.reservations.length > 0 && this.#leastFree(bay, endsAt) < demand.units) continue;
      found.push(bay);
      if (found.length === demand.nodes) return found;
    }
    return undefined;
  }

  /** Gives `units` of each bay to a new tenant; answers with the ranks, in the order of node names. */
  take(demand: Demand, bays: readonly Bay[], tenant: Tenant): RankPlacement[] {
    const pool = this.pools.get(demand.pool);
    if (pool === undefined) return [];
    pool.tenants.push(tenant);
    return bays
      .toSorted((a, b) => compareText(a.node.node, b.node.node))
      .map((bay) => {
        const gpuIds = pool.name === null ? [] : freeIds(bay, demand.units);
        bay.takenIds.push(gpuIds);
        bay.holds.push({ tenant, units: demand.units });
        bay.timeline = undefined;
        setFree(pool, bay, bay.free - demand.units);
        return { node: bay.node.node, gpuIds };
      });
  }

  /** Keeps capacity for a run that cannot start yet, from the earliest moment at which it can; answers when that is. */
  reserve(demand: Demand, durationMs: number): number {
    const candidates: { bay: Bay; at: number }[] = [];
    const pool = this.pools.get(demand.pool);
    for (const bay of pool === undefined ? [] : baysFor(pool, demand)) {
      if (bay.capacity < demand.units) continue;
      // Leases that were told to give way since the last look end sooner.
      bay.timeline = undefined;
      candidates.push({ bay, at: this.#freeForGood(bay, demand.units) });
    }
    // Stable: bays that are ready at the same time stay in the order of node names.
    candidates.sort((a, b) => a.at - b.at);
    const chosen = candidates.slice(0, demand.nodes);
    const startsAt = chosen.at(-1)?.at ?? this.#now;
    for (const { bay } of chosen) {
      bay.reservations.push({ units: demand.units, from: startsAt, to: startsAt + durationMs });
      bay.timeline = undefined;
    }
    return startsAt;
  }

  /** How long leases without a limit are taken to last, averaged over all units that a class cannot clear. */
  guessedLeaseMs(pool: Pool, classRank: number): number {
    let sum = 0;
    let held = 0;
    for (const tenant of pool.tenants) {
      if (givesWay(tenant, classRank)) continue;
      const units = sizeOf(tenant.request);
      held += units;
      if (tenant.request.maxDurationMs !== undefined) continue;
      sum += units * (this.endOf(tenant) - tenant.grantedAt);
    }
    return held === 0 ? 0 : sum / held;
  }

  /**
   * Units that are free, or held by runs created after `createdAt`. What a class can clear counts as free: else a
   * victim that has gone would be the reason to keep its place for another than the one that it has left for.
   */
  unitsPassed(pool: Pool, classRank: number, createdAt: number): number {
    let units = pool.free;
    for (const tenant of pool.tenants) {
      const { request } = tenant;
      if (request.createdAt > createdAt || givesWay(tenant, classRank)) units += sizeOf(request);
    }
    return units;
  }

  /** When the tenant's capacity is expected back. */
  endOf(tenant: Tenant): number {
    if (Number.isNaN(tenant.endsAt)) tenant.endsAt = this.#endOf(tenant);
    return tenant.endsAt;
  }

  /** The fewest units that are free at any moment from now to `until`. */
  #leastFree(bay: Bay, until: number): number {
    const { at, free } = this.#timeline(bay);
    let least = Infinity;
    for (let i = 0; i < at.length; i++) {
      if ((at[i] ?? 0) >= until && i > 0) break;
      least = Math.min(least, free[i] ?? 0);
    }
    return least;
  }

  /** From when on `units` are free and stay so: monotone, so that gangs can wait for their slowest bay. */
  #freeForGood(bay: Bay, units: number): number {
    const { at, free } = this.#timeline(bay);
    let i = at.length - 1;
    while (i > 0 && (free[i - 1] ?? 0) >= units) i--;
    return at[i] ?? this.#now;
  }

  #timeline(bay: Bay): Timeline {
    if (bay.timeline !== undefined) return bay.timeline;
    const changes: { at: number; units: number }[] = [];
    for (const { tenant, units } of bay.holds) changes.push({ at: this.endOf(tenant), units });
    for (const { from, to, units } of bay.reservations) {
      changes.push({ at: from, units: -units }, { at: to, units });
    }
    changes.sort((a, b) => a.at - b.at || b.units - a.units);
    const at = [this.#now];
    const free = [bay.free];
    let units = bay.free;
    for (const change of changes) {
      units += change.units;
      if (change.at <= (at.at(-1) ?? 0)) {
        free[free.length - 1] = units;
      } else {
        at.push(change.at);
        free.push(units);
      }
    }
    bay.timeline = { at, free };
    return bay.timeline;
  }
}

/** The bays that the demand may use, by node name, however full they are. */
export function baysFor(pool: Pool, demand: Demand): readonly Bay[] {
  if (demand.nodeNames.length === 0) return pool.bays;
  const named = [...new Set(demand.nodeNames)].map((name) => pool.byName.get(name));
  return named.filter((bay) => bay !== undefined).sort((a, b) => compareText(a.node.node, b.node.node));
}

/** Whether the demand fits now, reservations or not. */
export function fitsNow(pool: Pool, demand: Demand): boolean {
  if (demand.nodeNames.length === 0) {
    return pool.byFree.length - firstWith(pool, demand.units, 0) >= demand.nodes;
  }
  return baysFor(pool, demand).filter((bay) => bay.free >= demand.units).length >= demand.nodes;
}

/** Bays with room enough now, the fullest first. */
function* roomyBays(pool: Pool, demand: Demand): Generator<Bay> {
  if (demand.nodeNames.length > 0) {
    const bays = baysFor(pool, demand).filter((bay) => bay.free >= demand.units);
    yield* bays.toSorted((a, b) => a.free - b.free);
    return;
  }
  for (let at = firstWith(pool, demand.units, 0); at < pool.byFree.length; at++) {
    const bay = pool.bays[pool.byFree[at] ?? -1];
    if (bay !== undefined) yield bay;
  }
}

function takesNewRuns(node: ClusterNode): boolean {
  return node.alive && !node.cordoned;
}

/** GPUs of a node or run that names no type are a type of their own. */
function poolName(gpus: number, gpuType: string | null): string | null {
  return gpus === 0 ? null : (gpuType ?? '');
}

function poolsOf(snapshot: ClusterSnapshot): Map<string | null, Pool> {
  const pools = new Map<string | null, Pool>();
  const bays = new Map<string, { readonly gpu?: Bay; readonly cpu?: Bay }>();
  for (const node of snapshot.nodes.toSorted((a, b) => compareText(a.node, b.node))) {
    bays.set(node.node, {
      ...(node.gpus > 0 && { gpu: addBay(pools, poolName(node.gpus, node.gpuType), node, node.gpus) }),
      ...(node.cpuSlots > 0 && { cpu: addBay(pools, null, node, node.cpuSlots) }),
    });
  }
  for (const lease of snapshot.leases.toSorted((a, b) => a.fence - b.fence)) {
    settle(pools, bays, lease);
  }
  for (const pool of pools.values()) {
    for (const [index, bay] of pool.bays.entries()) {
      bay.free = Math.max(0, bay.free);
      pool.free += bay.free;
      pool.byFree.push(index);
    }
    // Stable: the bays are listed by node name.
    pool.byFree.sort((a, b) => (pool.bays[a]?.free ?? 0) - (pool.bays[b]?.free ?? 0));
  }
  return pools;
}

/** Nodes that take no new runs get a bay, so that their leases are accounted for, but no place in the pool. */
function addBay(
  pools: Map<string | null, Pool>,
  name: string | null,
  node: ClusterNode,
  capacity: number,
): Bay {
  let pool = pools.get(name);
  if (pool === undefined) {
    pool = { name, bays: [], byFree: [], tenants: [], index: new Map(), byName: new Map(), free: 0 };
    pools.set(name, pool);
  }
  const bay: Bay = {
    node,
    capacity,
    free: capacity,
    holds: [],
    reservations: [],
    takenIds: [],
    timeline: undefined,
  };
  if (takesNewRuns(node)) {
    pool.index.set(bay, pool.bays.length);
    pool.byName.set(node.node, bay);
    pool.bays.push(bay);
  }
  return bay;
}

/** Books a lease where it is. Ranks on nodes that are gone hold nothing that could be given to others. */
function settle(
  pools: ReadonlyMap<string | null, Pool>,
  bays: ReadonlyMap<string, { readonly gpu?: Bay; readonly cpu?: Bay }>,
  lease: Lease,
): void {
  const tenant: Tenant = {
    request: lease.request,
    classRank: classRankOf(lease.request),
    grantedAt: lease.grantedAt,
    leaving: lease.revokedFor !== undefined,
    endsAt: NaN,
  };
  let pool: Pool | undefined;
  for (const { node, gpuIds } of lease.ranks) {
    const share = bays.get(node);
    const bay = gpuIds.length > 0 ? share?.gpu : share?.cpu;
    if (bay === undefined) continue;
    const units = gpuIds.length || 1;
    bay.free -= units;
    bay.holds.push({ tenant, units });
    bay.takenIds.push(gpuIds);
    pool ??= pools.get(poolName(gpuIds.length, bay.node.gpuType));
  }
  pool?.tenants.push(tenant);
}

/** Keeps `byFree` in order when a bay gets fuller or emptier. */
function setFree(pool: Pool, bay: Bay, free: number): void {
  const index = pool.index.get(bay);
  if (index === undefined) return;
  pool.byFree.splice(firstWith(pool, bay.free, index), 1);
  pool.free += free - bay.free;
  bay.free = free;
  pool.byFree.splice(firstWith(pool, free, index), 0, index);
}

/** Where in `byFree` the bays begin that have `free` units or more and, of those with as many, come from `index` on. */
function firstWith(pool: Pool, free: number, index: number): number {
  let low = 0;
  let high = pool.byFree.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const other = pool.byFree[middle] ?? 0;
    const otherFree = pool.bays[other]?.free ?? 0;
    if (otherFree < free || (otherFree === free && other < index)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The lowest free GPU ids of the bay. */
function freeIds(bay: Bay, units: number): number[] {
  const taken = new Uint8Array(bay.capacity);
  for (const ids of bay.takenIds) for (const id of ids) taken[id] = 1;
  const ids: number[] = [];
  for (let id = 0; id < bay.capacity && ids.length < units; id++) {
    if (taken[id] === 0) ids.push(id);
  }
  return ids;
}
