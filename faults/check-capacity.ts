/** Capacity: what is leased is leased once, what runs has a lease, and no two containers have one GPU. */
import type { ContainerLife, Evidence, LeaseTime, NodeFacts } from './evidence.ts';
import { nameOf, overlaps } from './check-containers.ts';
import type { Findings } from './findings.ts';
import { Notes } from './findings.ts';
import { orderOf } from './orders.ts';

/** Docker's events carry the daemon's time of an end, which comes a little later than the end. */
const EVENT_DELAY_MS = 100;

export function checkCapacity(evidence: Evidence): Findings {
  const notes = new Notes();
  for (const node of evidence.nodes) checkNode(notes, node, evidence.leases);
  checkLeases(notes, evidence);
  for (const container of evidence.containers) {
    notes.look('lease-for-container');
    const lease = leaseOf(container, evidence.leases);
    if (lease === undefined) {
      notes.object('lease-for-container', container.run, `${nameOf(container)} never had a lease`);
      continue;
    }
    checkTimes(notes, container, lease);
    checkGpus(notes, container, lease);
  }
  checkHeld(notes, evidence.containers);
  if (evidence.probes.length > 0) checkProbes(notes, evidence);
  return notes;
}

/** At one moment, all ranks of all of them live. */
function checkProbes(notes: Notes, evidence: Evidence): void {
  notes.look('all-free', evidence.probes.length);
  const orders = evidence.orders.filter(({ name }) => evidence.probes.includes(name));
  const lives = evidence.containers.filter(({ run }) =>
    orders.some((order) => orderOf(evidence, run) === order),
  );
  const missingAt = (moment: number): string[] => {
    const alive = lives.filter(({ startedAt, aliveUntil }) => startedAt <= moment && moment < aliveUntil);
    const ranks = new Set(alive.map(({ run, rank }) => `rank ${rank} of ${orderOf(evidence, run)?.name}`));
    const all = orders.flatMap(({ name, ranks: count }) =>
      Array.from({ length: count }, (_, rank) => `rank ${rank} of ${name}`),
    );
    return all.filter((rank) => !ranks.has(rank));
  };
  const [fewest = evidence.probes] = lives
    .map(({ startedAt }) => missingAt(startedAt))
    .toSorted((a, b) => a.length - b.length);
  const unknown = evidence.probes.filter((name) => !orders.some((order) => order.name === name));
  const missing = [...unknown, ...fewest];
  if (missing.length === 0) return;
  notes.object('all-free', undefined, `there was no room beside all others for ${missing.join(', ')}`);
}

function checkLeases(notes: Notes, evidence: Evidence): void {
  const { leases, executions } = evidence;
  const open = new Set(executions.filter(({ closed }) => closed === undefined).map(({ run }) => run));
  for (const lease of leases) {
    notes.look('given-back');
    if (lease.endedEvent === undefined && !open.has(lease.run)) {
      notes.object('given-back', lease.run, `it has ended, and still holds ${nameOfLease(lease)}`);
    }
    const order = orderOf(evidence, lease.run);
    if (order === undefined) continue;
    notes.look('gang-whole');
    const gpus = lease.ranks.flatMap(({ gpuIds }) => gpuIds).length;
    if (lease.ranks.length === order.ranks && gpus === order.gpus) continue;
    const wanted = `${order.gpus} GPUs for ${order.ranks} ranks`;
    notes.object('gang-whole', lease.run, `it wanted ${wanted}, and got ${nameOfLease(lease)}`);
  }
  for (const [first, ...more] of Map.groupBy(
    leases,
    ({ run, resumption }) => `${run} ${resumption}`,
  ).values()) {
    if (first === undefined || more.length === 0) continue;
    const fences = [first, ...more].map(({ fence }) => fence).join(', ');
    notes.object('gang-whole', first.run, `resumption ${first.resumption} got several leases: ${fences}`);
  }
}

const nameOfLease = ({ fence, ranks }: LeaseTime): string =>
  `lease ${fence}: ${ranks.map(({ node, gpuIds }) => `${node}[${gpuIds.join()}]`).join(' ')}`;

/** By what the containers themselves have, whatever was leased to them. */
function checkHeld(notes: Notes, containers: readonly ContainerLife[]): void {
  const held = containers.flatMap((life) =>
    life.gpuIds.map((gpu) => ({ ...life, gpu: `${life.node}/${gpu}` })),
  );
  for (const [gpu, holders] of Map.groupBy(held, ({ gpu }) => gpu)) {
    notes.look('gpu-held-once', holders.length);
    for (const [earlier, later] of overlaps(holders)) {
      const message = `${nameOf(later)} began on GPU ${gpu} while ${nameOf(earlier)} was on it`;
      notes.object('gpu-held-once', later.run, message);
    }
  }
}

function leaseOf({ run, resumption, rank, fence, node }: ContainerLife, leases: readonly LeaseTime[]) {
  return leases.find(
    (lease) =>
      lease.run === run &&
      lease.resumption === resumption &&
      lease.fence === fence &&
      lease.ranks[rank]?.node === node,
  );
}

function checkGpus(notes: Notes, container: ContainerLife, { ranks }: LeaseTime): void {
  const leased = ranks[container.rank]?.gpuIds ?? [];
  if (leased.join() === container.gpuIds.join()) return;
  const message = `${nameOf(container)} has GPUs [${container.gpuIds.join()}], and a lease of [${leased.join()}]`;
  notes.object('lease-for-container', container.run, message);
}

function checkTimes(notes: Notes, container: ContainerLife, { grantedAt, endedAt }: LeaseTime): void {
  if (container.startedAt < grantedAt) {
    const earlyMs = grantedAt - container.startedAt;
    notes.object('lease-for-container', container.run, `${nameOf(container)} began ${earlyMs} ms too early`);
  }
  if (endedAt !== undefined && container.aliveUntil > endedAt + EVENT_DELAY_MS) {
    const late = ((container.aliveUntil - endedAt) / 1000).toFixed(1);
    notes.object(
      'lease-for-container',
      container.run,
      `${nameOf(container)} lived for ${late} s after its lease was given back`,
    );
  }
}

function checkNode(notes: Notes, { name, gpus, cpuSlots }: NodeFacts, leases: readonly LeaseTime[]): void {
  const shares = leases.flatMap(({ run, ranks, grantedEvent, endedEvent = Infinity }) =>
    ranks
      .filter(({ node }) => node === name)
      .map(({ gpuIds }) => ({ run, gpuIds, startedAt: grantedEvent, aliveUntil: endedEvent })),
  );
  const byGpu = Map.groupBy(
    shares.flatMap((share) => share.gpuIds.map((gpu) => ({ ...share, gpu }))),
    ({ gpu }) => String(gpu),
  );
  for (const [gpu, holders] of byGpu) {
    notes.look('leased-once', holders.length);
    if (Number(gpu) >= gpus) {
      notes.object('leased-once', holders[0]?.run, `GPU ${gpu} of ${name} was leased, which has ${gpus}`);
    }
    for (const [earlier, later] of overlaps(holders)) {
      const message = `GPU ${gpu} of ${name} was leased to it while ${earlier.run} held it`;
      notes.object('leased-once', later.run, message);
    }
  }
  const slots = shares.filter(({ gpuIds }) => gpuIds.length === 0);
  for (const share of slots) {
    notes.look('leased-once');
    const atOnce = slots.filter(
      ({ startedAt, aliveUntil }) => startedAt <= share.startedAt && aliveUntil > share.startedAt,
    );
    if (atOnce.length <= cpuSlots) continue;
    notes.object(
      'leased-once',
      share.run,
      `it got CPU slot ${atOnce.length} of ${name}, which has ${cpuSlots}`,
    );
  }
}
