/** What waiting runs are told: place, reason and expected start. */
import type { ClusterNode } from './cluster.ts';
import { outlived, usualRunTime } from './estimates.ts';
import { freedBy, playForward } from './forecast.ts';
import type { Held } from './forecast.ts';
import type { Pool } from './placement.ts';
import { fitsNow } from './placement.ts';
import { count, duration, names } from './phrases.ts';
import type { Planning, Wait, WaitingRun } from './scheduler.ts';

/** One decision for each run that waits, in queue order. */
export function describeWaits(planning: Planning): Wait[] {
  const outlooks = new Map<string, Outlook>();
  for (const [pool, queue] of Map.groupBy(planning.waiting, ({ demand }) => demand.pool)) {
    outlooks.set(pool, new Outlook(planning, planning.capacity.pools.get(pool), queue));
  }
  return planning.waiting.map((waiting, i) => {
    const outlook = outlooks.get(waiting.demand.pool);
    const expectedStart = outlook?.bands.get(waiting);
    return {
      type: 'WAIT',
      run: waiting.request.run,
      resumption: waiting.request.resumption,
      position: i + 1,
      reason: outlook?.reason(waiting) ?? '',
      ...(expectedStart !== undefined && { expectedStart }),
    };
  });
}

interface Band {
  readonly from: number;
  readonly to: number;
}

/** What can be said about one pool and the runs that wait for it. */
class Outlook {
  readonly bands = new Map<WaitingRun, Band>();
  readonly #planning: Planning;
  readonly #pool: Pool | undefined;
  /** Leases by the end that is usual for their like. */
  readonly #usual: Held[] = [];
  /** Units held, by class of the holder. */
  readonly #heldByClass: number[] = [];
  readonly #reasons = new Map<string, string>();

  constructor(planning: Planning, pool: Pool | undefined, queue: readonly WaitingRun[]) {
    this.#planning = planning;
    this.#pool = pool;
    if (pool === undefined) return;
    const latest: Held[] = [];
    for (const tenant of pool.tenants) {
      const { request, grantedAt, leaving, classRank } = tenant;
      const units = Math.max(request.gpus, request.nodes);
      const usual = outlived(usualRunTime(planning.history, request), planning.now - grantedAt);
      const endsAt = planning.capacity.endOf(tenant);
      latest.push({ units, endsAt });
      this.#usual.push({ units, endsAt: leaving ? endsAt : grantedAt + usual });
      this.#heldByClass[classRank] = (this.#heldByClass[classRank] ?? 0) + units;
    }
    this.#usual.sort((a, b) => a.endsAt - b.endsAt);
    this.#forecast(pool, latest, queue);
  }

  reason(waiting: WaitingRun): string {
    const { demand, obstacle, classRank } = waiting;
    // Runs of one shape, class and obstacle are told the same: ten thousand sentences would take longer than the plan.
    const about =
      obstacle.type === 'reserved'
        ? obstacle.for.run
        : obstacle.type === 'higher-priority'
          ? obstacle.run.run
          : '';
    if (obstacle.type === 'clearing' || demand.nodeNames.length > 0) return this.#phrase(waiting);
    const key = `${obstacle.type} ${about} ${demand.units} ${demand.nodes} ${classRank}`;
    let reason = this.#reasons.get(key);
    if (reason === undefined) this.#reasons.set(key, (reason = this.#phrase(waiting)));
    return reason;
  }

  #forecast(pool: Pool, latest: readonly Held[], queue: readonly WaitingRun[]): void {
    const { now, history } = this.#planning;
    const able = queue.filter(({ obstacle }) => obstacle.type !== 'no-such-nodes');
    const sizes = able.map(({ demand }) => demand.units * demand.nodes);
    const usual = playForward(
      now,
      pool.free,
      this.#usual,
      able.map(({ request }, i) => ({ units: sizes[i] ?? 0, ms: usualRunTime(history, request) })),
    );
    const late = playForward(
      now,
      pool.free,
      latest,
      able.map(({ estimate }, i) => ({ units: sizes[i] ?? 0, ms: estimate.ms })),
    );
    for (const [i, waiting] of able.entries()) {
      const from = usual[i] ?? Infinity;
      const to = late[i] ?? Infinity;
      if (Math.max(from, to) === Infinity) continue;
      this.bands.set(waiting, { from: Math.round(Math.min(from, to)), to: Math.round(Math.max(from, to)) });
    }
  }

  #phrase(waiting: WaitingRun): string {
    const { demand, obstacle, request, classRank } = waiting;
    const { now, snapshot } = this.#planning;
    const pool = this.#pool;
    const free = pool?.free ?? 0;
    const size = demand.units * demand.nodes;
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
function outOfService({ request, demand }: WaitingRun, nodes: readonly ClusterNode[]): string {
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
