/** Capacity: what is leased is leased once, what runs has a lease, and no two containers have one GPU. */
import type { ContainerLife, Evidence, LeaseTime, NodeFacts } from './evidence.ts';
import type { Findings } from './check.ts';
import { nameOf, overlaps } from './check-containers.ts';
import { groupBy, Notes } from './findings.ts';

/** Docker's events carry the daemon's time of an end, which comes a little later than the end. */
const EVENT_DELAY_MS = 100;

export function checkCapacity(evidence: Evidence): Findings {
  const notes = new Notes();
  for (const node of evidence.nodes) checkNode(notes, node, evidence.leases);
  const held: { gpu: string; startedAt: number; aliveUntil: number; container: ContainerLife }[] = [];
  for (const container of evidence.containers) {
    notes.look('lease-for-container');
    const lease = leaseOf(container, evidence.leases);
    if (lease === undefined) {
      notes.object('lease-for-container', container.run, `${nameOf(container)} never had a lease`);
      continue;
    }
    checkTimes(notes, container, lease);
    for (const gpu of lease.ranks[container.rank]?.gpuIds ?? []) {
      held.push({ gpu: `${container.node}/${gpu}`, container, ...timesOf(container) });
    }
  }
  for (const [gpu, holders] of groupBy(held, ({ gpu }) => gpu)) {
    notes.look('gpu-held-once', holders.length);
    for (const [earlier, later] of overlaps(holders)) {
      // Two lives of one rank are another invariant's.
      const message = `${nameOf(later.container)} began on GPU ${gpu} while ${nameOf(earlier.container)} was on it`;
      notes.object('gpu-held-once', later.container.run, message);
    }
  }
  return notes;
}

const timesOf = ({ startedAt, aliveUntil }: ContainerLife) => ({ startedAt, aliveUntil });

function leaseOf({ run, resumption, rank, fence, node }: ContainerLife, leases: readonly LeaseTime[]) {
  return leases.find(
    (lease) =>
      lease.run === run &&
      lease.resumption === resumption &&
      lease.fence === fence &&
      lease.ranks[rank]?.node === node,
  );
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
  const byGpu = groupBy(
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
