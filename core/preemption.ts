/**
 * Who gives way. Victims are preemptible and of a lower class than the run they make room for; the fewest that
 * suffice, then those of the lowest class, then the youngest, whose loss is smallest. None when it would not suffice.
 */
import { compareText } from './ordering.ts';
import type { Demand } from './ordering.ts';
import { baysFor, givesWay } from './placement.ts';
import type { Bay, Hold, Pool, Tenant } from './placement.ts';
import { resumptionKey } from './cluster.ts';

/** The tenants to ask, or undefined where even all of them would not make room. Empty when enough leave already. */
export function chooseVictims(pool: Pool, demand: Demand, classRank: number): Tenant[] | undefined {
  const bays = baysFor(pool, demand).filter(
    // A bay that is promised to another run is not cleared for this one.
    (bay) => bay.capacity >= demand.units && bay.reservations.length === 0,
  );
  const chosen = new Set<Tenant>();
  const options = new Map<Bay, readonly Tenant[]>();
  const look = (bay: Bay): void => {
    const victims = clear(bay, demand.units, classRank, chosen);
    if (victims !== undefined) options.set(bay, victims);
  };
  for (const bay of bays) look(bay);
  if (options.size < demand.nodes) return undefined;
  for (let cleared = 0; cleared < demand.nodes; cleared++) {
    const [bay, victims] = cheapest(options);
    options.delete(bay);
    for (const victim of victims) chosen.add(victim);
    // A victim that is a gang frees other bays too: they may need fewer victims now.
    if (victims.some(({ request }) => request.nodes > 1)) for (const other of options.keys()) look(other);
  }
  return withoutNeedless(bays, demand, chosen);
}

/** The bay that needs the fewest, then the least regretted, victims. */
function cheapest(options: ReadonlyMap<Bay, readonly Tenant[]>): readonly [Bay, readonly Tenant[]] {
  let best: readonly [Bay, readonly Tenant[]] | undefined;
  for (const option of options) {
    if (best === undefined || compareVictims(option[1], best[1]) < 0) best = option;
    if (best[1].length === 0) break;
  }
  if (best === undefined) throw new Error('no bay is left to clear: bays were counted wrongly');
  return best;
}

/** The victims on one bay: as few as can be, and among as few the least regretted; undefined where all are too few. */
function clear(
  bay: Bay,
  units: number,
  classRank: number,
  chosen: ReadonlySet<Tenant>,
): readonly Tenant[] | undefined {
  let missing = units - bay.free;
  const candidates: Hold[] = [];
  for (const hold of bay.holds) {
    const { tenant } = hold;
    if (tenant.leaving || chosen.has(tenant)) missing -= hold.units;
    else if (givesWay(tenant, classRank)) candidates.push(hold);
  }
  if (missing <= 0) return NOBODY;
  const fewest = fewestFor(candidates, missing);
  if (fewest === undefined) return undefined;
  candidates.sort((a, b) => byRegret(a.tenant, b.tenant));
  const victims: Tenant[] = [];
  while (missing > 0) {
    // The first whose choice leaves a rest that the largest others can still make up.
    const next = candidates.findIndex((candidate, i) => {
      const others = candidates.filter((_, j) => j !== i);
      const more = fewestFor(others, missing - candidate.units);
      return more !== undefined && more <= fewest - victims.length - 1;
    });
    const [victim] = candidates.splice(next, 1);
    if (victim === undefined) return undefined;
    victims.push(victim.tenant);
    missing -= victim.units;
  }
  return victims;
}

const NOBODY: readonly Tenant[] = [];

/** How many of the holds it takes at least to free so many units; undefined where all of them are too few. */
function fewestFor(holds: readonly Hold[], missing: number): number | undefined {
  if (missing <= 0) return 0;
  let left = missing;
  for (const [i, size] of holds
    .map(({ units }) => units)
    .sort((a, b) => b - a)
    .entries()) {
    left -= size;
    if (left <= 0) return i + 1;
  }
  return undefined;
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
