/**
 * Who gives way. Victims are preemptible and of a lower class than the run they make room for; the fewest that
 * suffice, then those of the lowest class, then the youngest, whose loss is smallest. None when it would not suffice.
 */
import { compareText } from './ordering.ts';
import { baysFor } from './placement.ts';
import type { Bay, Demand, Pool, Tenant } from './placement.ts';
import { resumptionKey } from './cluster.ts';

/** The tenants to ask, or undefined where even all of them would not make room. Empty when enough leave already. */
export function chooseVictims(pool: Pool, demand: Demand, classRank: number): Tenant[] | undefined {
  const bays = baysFor(pool, demand).filter(
    // A bay that is promised to another run is not cleared for this one.
    (bay) => bay.capacity >= demand.units && bay.reservations.length === 0,
  );
  const chosen = new Set<Tenant>();
  const cleared = new Set<Bay>();
  while (cleared.size < demand.nodes) {
    const best = cheapest(
      bays.filter((bay) => !cleared.has(bay)),
      demand,
      classRank,
      chosen,
    );
    if (best === undefined) return undefined;
    cleared.add(best.bay);
    for (const victim of best.victims) chosen.add(victim);
  }
  return withoutNeedless(bays, demand, chosen);
}

interface Clearing {
  readonly bay: Bay;
  readonly victims: readonly Tenant[];
}

/** The bay that needs the fewest, then the least regretted, further victims. */
function cheapest(
  bays: readonly Bay[],
  demand: Demand,
  classRank: number,
  chosen: ReadonlySet<Tenant>,
): Clearing | undefined {
  let best: Clearing | undefined;
  for (const bay of bays) {
    const victims = clear(bay, demand.units, classRank, chosen);
    if (victims === undefined) continue;
    if (best === undefined || compareVictims(victims, best.victims) < 0) best = { bay, victims };
    if (victims.length === 0) break;
  }
  return best;
}

/** The victims on one bay: as few as can be, and among as few the least regretted. */
function clear(
  bay: Bay,
  units: number,
  classRank: number,
  chosen: ReadonlySet<Tenant>,
): Tenant[] | undefined {
  let missing = units - bay.free;
  const held = new Map<Tenant, number>();
  for (const { tenant, units } of bay.holds) {
    if (tenant.leaving || chosen.has(tenant)) missing -= units;
    else if (tenant.request.preemptible && tenant.classRank > classRank) {
      held.set(tenant, (held.get(tenant) ?? 0) + units);
    }
  }
  const sizes = [...held.values()].toSorted((a, b) => b - a);
  let fewest = 0;
  for (let sum = 0; sum < missing; fewest++) {
    const size = sizes[fewest];
    if (size === undefined) return undefined;
    sum += size;
  }
  const victims: Tenant[] = [];
  let candidates = [...held].toSorted(([a], [b]) => byRegret(a, b));
  while (missing > 0) {
    // The first whose choice leaves a rest that the largest others can still make up.
    const next = candidates.findIndex(([, size], i) => {
      const rest = candidates.filter((_, j) => j !== i).map(([, other]) => other);
      return size + largest(rest, fewest - victims.length - 1) >= missing;
    });
    const [victim, size] = candidates[next] ?? [];
    if (victim === undefined || size === undefined) return undefined;
    victims.push(victim);
    missing -= size;
    candidates = candidates.filter((_, j) => j !== next);
  }
  return victims;
}

function largest(sizes: readonly number[], count: number): number {
  return sizes
    .toSorted((a, b) => b - a)
    .slice(0, Math.max(0, count))
    .reduce((sum, size) => sum + size, 0);
}

/** Gangs hold several bays: clearing one may have cleared another, so that an earlier victim can stay after all. */
function withoutNeedless(bays: readonly Bay[], demand: Demand, chosen: ReadonlySet<Tenant>): Tenant[] {
  const victims = new Set(chosen);
  for (const victim of [...chosen].toSorted((a, b) => byRegret(b, a))) {
    victims.delete(victim);
    const cleared = bays.filter((bay) => freeWithout(bay, victims) >= demand.units);
    if (cleared.length < demand.nodes) victims.add(victim);
  }
  return [...victims].toSorted(byRegret);
}

function freeWithout(bay: Bay, victims: ReadonlySet<Tenant>): number {
  return bay.holds.reduce(
    (free, { tenant, units }) => (tenant.leaving || victims.has(tenant) ? free + units : free),
    bay.free,
  );
}

function compareVictims(a: readonly Tenant[], b: readonly Tenant[]): number {
  if (a.length !== b.length) return a.length - b.length;
  for (const [i, tenant] of a.entries()) {
    const other = b[i];
    const order = other === undefined ? 0 : byRegret(tenant, other);
    if (order !== 0) return order;
  }
  return 0;
}

/** Least regretted first: the lowest class, then the youngest lease, then a key that is never shared. */
function byRegret(a: Tenant, b: Tenant): number {
  return (
    b.classRank - a.classRank ||
    b.grantedAt - a.grantedAt ||
    compareText(resumptionKey(a.request), resumptionKey(b.request))
  );
}
