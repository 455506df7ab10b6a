/**
 * Why a resumption was not the last of its run. What mcli says of it counts for nothing: each cause is proven by what
 * the suite has done and seen, and has to fit in time.
 */
import type {
  ContainerLife,
  Evidence,
  Execution,
  Fault,
  LeaseTime,
  NodeLoss,
  RunOrder,
  Silence,
} from './evidence.ts';
import { faultFacts, LEASE_MS } from './fault-kinds.ts';
import { orderOf } from './orders.ts';
import { dockerEnd, dockerFaults, SILENT_MS } from './outages.ts';
import { PRIORITIES } from './plan.ts';
import { naturalExit } from './program.ts';

const CAUSES = [
  'failed',
  'preempted',
  'killed',
  'node lost',
  'ended by the guard',
  'Docker was hurt',
] as const;
export type Cause = (typeof CAUSES)[number];

/** One resumption of a run. */
export interface Resumption {
  readonly order: RunOrder;
  readonly execution: Execution;
  readonly index: number;
}

/** Who decides that a run goes on elsewhere may be dead itself for a while. */
const DECIDED_WITHIN_MS = 30_000;
/** The clocks are one, but whoever notes a time has done something before. */
const MOMENT_MS = 500;
/** The last heartbeat before a fault may be so old, on a machine that is busy. */
const BEAT_MS = 3_000;
/** The guard begins to end the containers of a silent node when a third of its lease is left. */
const GUARD_ENDS_MS = (2 * LEASE_MS) / 3;
/** A guard looks every second. */
const GUARD_LOOKS_MS = 2_000;
/** A container that is younger than this when its daemon dies may not have been started yet. */
const STARTING_MS = 2_000;
/** As Docker tells of SIGKILL. */
const KILLED = 137;

export function causesOf(evidence: Evidence, resumption: Resumption): Cause[] {
  const { order, execution, index } = resumption;
  const at = givenUpAt(resumption);
  const lives = livesOf(evidence, resumption);
  const leases = evidence.leases.filter((lease) => lease.run === execution.run && lease.resumption === index);
  const isProven: Readonly<Record<Cause, boolean>> = {
    failed: order.maxRetries > 0 && lives.some((life) => endedByItself(evidence, order, life) !== 'no'),
    preempted: leases.some((lease) => gaveWay(evidence, order, { lease, at })),
    killed: lives.some((life) => isKilledBefore(evidence, life, at)),
    'node lost': leases.some((lease) => lostNode(evidence, { lease, at })),
    'ended by the guard': lives.some((life) => endedByGuard(evidence, life, at)),
    'Docker was hurt': leases.some((lease) => wasHurt(evidence, resumption, { lease, at })),
  };
  return CAUSES.filter((cause) => isProven[cause]);
}

/** When a run began to leave a resumption. */
function givenUpAt({ execution: { steps }, index }: Resumption): number {
  const leaving = steps.find(
    ({ resumption, status }) => resumption > index || (resumption === index && status === 'TERMINATING'),
  );
  return leaving?.at ?? Infinity;
}

export const livesOf = (
  { containers }: Pick<Evidence, 'containers'>,
  { execution: { run }, index }: Resumption,
): ContainerLife[] => containers.filter((life) => life.run === run && life.resumption === index);

/** Whether the program of a container ended as it is written; nobody may have seen its exit code. */
export function endedByItself(
  evidence: Evidence,
  { program }: RunOrder,
  life: ContainerLife,
): 'yes' | 'maybe' | 'no' {
  const natural = naturalExit(program, life);
  if (natural === undefined) return 'no';
  if (life.exitCode === undefined) return mayHaveLostExit(evidence, life) ? 'maybe' : 'no';
  if (life.exitCode !== natural) return 'no';
  // A program that kills itself may have been killed from outside at that moment: who saw it last, saw it a little before.
  if (isKilledBefore(evidence, life, life.aliveUntil)) return 'no';
  return isKilledBefore(evidence, life, life.aliveUntil + MOMENT_MS) ? 'maybe' : 'yes';
}

/** A daemon that dies about when a container does may forget how that ended. */
export const mayHaveLostExit = (evidence: Evidence, { node, aliveUntil }: ContainerLife): boolean =>
  dockerFaults(evidence, node, { from: aliveUntil, to: aliveUntil }).length > 0;

const isKilledBefore = ({ faults }: Evidence, life: ContainerLife, at: number): boolean =>
  faults.some((fault) => wasKilled(life, fault) && fault.at <= at);

/** What ended by itself at the same moment was not killed; nor was, perhaps, what Docker did not tell of. */
export function wasKilled({ id, exitCode }: ContainerLife, { container, isUncertain }: Fault): boolean {
  return container === id && (exitCode === KILLED || (exitCode === undefined && isUncertain !== true));
}

interface GivenUp {
  readonly lease: LeaseTime;
  readonly at: number;
}

/** Its place went to a run of a higher priority, or would have gone to one that had to wait for it. */
function gaveWay(evidence: Evidence, order: RunOrder, { lease, at }: GivenUp): boolean {
  if (!order.preemptible || lease.endedAt === undefined) return false;
  const decidedBy = lease.endedAt + DECIDED_WITHIN_MS;
  const rivals = evidence.executions.filter(({ run }) => isHigher(orderOf(evidence, run), order));
  return rivals.some(({ run, startedAt, steps, closed }) => {
    const later = evidence.leases.filter(
      (other) => other.run === run && other.grantedEvent > (lease.endedEvent ?? Infinity),
    );
    if (later.some((other) => other.grantedAt <= decidedBy && shareRoom(other, lease))) return true;
    const last = steps.at(-1)?.resumption;
    const hasWaited = !evidence.leases.some((own) => own.run === run && own.resumption === last);
    return hasWaited && startedAt <= at && closed !== undefined && closed.at >= at && closed.at <= decidedBy;
  });
}

const isHigher = (a: RunOrder | undefined, b: RunOrder): boolean =>
  a !== undefined && PRIORITIES.indexOf(a.priority) > PRIORITIES.indexOf(b.priority);

/** A GPU, or a slot of the same node. */
const shareRoom = (one: LeaseTime, other: LeaseTime): boolean =>
  one.ranks.some(({ node, gpuIds }) =>
    other.ranks.some(
      (rank) =>
        rank.node === node &&
        (gpuIds.length === 0 ? rank.gpuIds.length === 0 : gpuIds.some((gpu) => rank.gpuIds.includes(gpu))),
    ),
  );

/** A node of it was given up, after nothing had been heard of it for long enough, and because of a fault. */
function lostNode(evidence: Evidence, { lease, at }: GivenUp): boolean {
  return evidence.losses.some(
    (loss) =>
      lease.ranks.some(({ node }) => node === loss.node) &&
      loss.heardEvent > lease.grantedEvent &&
      loss.heardEvent < (lease.endedEvent ?? Infinity) &&
      at >= loss.heardAt - MOMENT_MS &&
      at <= loss.heardAt + DECIDED_WITHIN_MS &&
      evidence.silences.some((silence) => explains(evidence, silence, loss)),
  );
}

/**
 * An outage of the control plane alone must cost nothing, as long as no guard acts. A fault of the node may cost its
 * place even when it is a blow: on a busy machine an agent needs its time to come back.
 */
function explains({ faults }: Evidence, silence: Silence, { node, at }: NodeLoss): boolean {
  const silentMs = at - silence.from;
  const isSilent = silence.node === node && silentMs >= SILENT_MS && at <= silence.to + MOMENT_MS;
  const causes = faults.filter((fault) => silences(fault, silence) && fault.at <= at);
  const isItsOwn = causes.some(({ kind }) => faultFacts(kind).silences === 'its node');
  return isSilent && causes.length > 0 && (isItsOwn || silentMs >= GUARD_ENDS_MS);
}

/** Whether a fault may be the reason, or one of the reasons, why nothing was heard of a node. */
function silences({ kind, target, at, mendedAt }: Fault, { node, from, to }: Silence): boolean {
  const who = faultFacts(kind).silences;
  const isHere = who === 'all nodes' || (who === 'its node' && target === node);
  return isHere && at <= to && mendedAt >= from - BEAT_MS;
}

/** Its guard ended it, since the lease of the node was about to end. */
function endedByGuard(evidence: Evidence, { node, aliveUntil }: ContainerLife, at: number): boolean {
  return evidence.silences.some(
    (silence) =>
      silence.node === node &&
      aliveUntil >= silence.from + GUARD_ENDS_MS - MOMENT_MS &&
      aliveUntil <= silence.to + GUARD_LOOKS_MS &&
      at >= aliveUntil - MOMENT_MS &&
      at <= silence.to + DECIDED_WITHIN_MS &&
      evidence.faults.some((fault) => silences(fault, silence)),
  );
}

/** Docker could not start it, or not keep it. */
function wasHurt(evidence: Evidence, resumption: Resumption, { lease, at }: GivenUp): boolean {
  const lives = livesOf(evidence, resumption);
  return lease.ranks.some(({ node }, rank) => {
    const faults = dockerFaults(evidence, node, { from: lease.grantedAt, to: at });
    const life = lives.find((candidate) => candidate.rank === rank);
    const isOver = life !== undefined && endedByItself(evidence, resumption.order, life) === 'yes';
    return (
      !isOver && faults.some((fault) => at <= dockerEnd(fault) + DECIDED_WITHIN_MS && mayEnd(fault, life))
    );
  });
}

/** A daemon that dies leaves containers alone, but for those that it is about to start; a full disk leaves none. */
function mayEnd(fault: Fault, life: ContainerLife | undefined): boolean {
  if (life === undefined) return true;
  if (fault.kind === 'fill-disk') return life.aliveUntil >= fault.at && life.startedAt <= dockerEnd(fault);
  const wasThere = life.startedAt <= dockerEnd(fault) + MOMENT_MS && life.aliveUntil >= fault.at - MOMENT_MS;
  return wasThere && life.startedAt + STARTING_MS >= fault.at;
}
