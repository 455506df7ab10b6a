/** What a seed means: the runs that are submitted, and the faults that hit. */
import type { FaultKind } from './fault-kinds.ts';
import { FAULT_KINDS, faultFacts } from './fault-kinds.ts';
import type { End, Program } from './program.ts';
import { Random } from './random.ts';

/** In ascending order. */
export const PRIORITIES = ['low', 'medium', 'high'] as const;
export type Priority = (typeof PRIORITIES)[number];

export interface PlannedRun {
  readonly name: string;
  /** When it is submitted, in milliseconds from the beginning. */
  readonly atMs: number;
  readonly program: Program;
  readonly gpus: number;
  readonly nodes: number;
  readonly priority: Priority;
  readonly preemptible: boolean;
  readonly maxRetries: number;
  readonly maxDurationMs?: number;
  /** From its acceptance to the order to stop. */
  readonly stopAfterMs?: number;
  /** Whether somebody watches with `mcli logs --follow`. */
  readonly followed: boolean;
}

export interface PlannedFault {
  readonly kind: FaultKind;
  readonly atMs: number;
  /** Picks node, container and manner when the time has come. */
  readonly dice: number;
  /** 0 for a blow. */
  readonly lastsMs: number;
}

export interface Plan {
  readonly runs: readonly PlannedRun[];
  readonly faults: readonly PlannedFault[];
  /** Faults after this time are only for runs that are still open then, in milliseconds from the beginning. */
  readonly calmFromMs: number;
}

export interface PlanWish {
  readonly seed: number;
  readonly runs: number;
  /** Short programs, and no waits for leases to run out: a minute for a few runs. */
  readonly quick: boolean;
  /** Only these kinds. */
  readonly kinds: readonly FaultKind[];
}

export const NODE_COUNT = 2;
export const GPUS_PER_NODE = 4;
/** Runs without GPUs that a node takes at once. */
export const CPU_SLOTS = 3;

const FIRST_FAULT_MS = 2_000;
/** Faults go on a while after the last submission, since the last runs shall have their share. */
const LAST_FAULT_MS = 8_000;
/** And longer for those that go on; but not for ever, since one that is hit again and again never ends. */
const FAULTS_FOR_THE_REST_MS = { quick: 8_000, full: 60_000 };
/** The faults of a seed do not depend on how many runs there are. */
const FAULTS_SEED = 0x5f_a0_17;

export function makePlan({ seed, runs: count, quick, kinds }: PlanWish): Plan {
  const runs = planRuns(new Random(seed), { seed, count, quick });
  const calmFromMs = (runs.at(-1)?.atMs ?? 0) + LAST_FAULT_MS;
  const untilMs = calmFromMs + FAULTS_FOR_THE_REST_MS[quick ? 'quick' : 'full'];
  const faults = planFaults(new Random(seed ^ FAULTS_SEED), { kinds, untilMs, quick });
  return { runs, faults, calmFromMs };
}

function planRuns(
  random: Random,
  { seed, count, quick }: { readonly seed: number; readonly count: number; readonly quick: boolean },
): PlannedRun[] {
  const gapMs = quick ? 1_500 : 2_400;
  let atMs = 0;
  return Array.from({ length: count }, (_, index) => {
    const run = { ...planRun(random, `f${seed}-${index}`, quick), atMs };
    atMs += random.whole(0, 2 * gapMs);
    return run;
  });
}

/** First one of each kind, so that every kind comes where there is time for it; then as often as each shall come. */
function planFaults(
  random: Random,
  {
    kinds,
    untilMs,
    quick,
  }: { readonly kinds: readonly FaultKind[]; readonly untilMs: number; readonly quick: boolean },
): PlannedFault[] {
  const deck = random.shuffle(kinds);
  const faults: PlannedFault[] = [];
  for (let atMs = FIRST_FAULT_MS; atMs < untilMs; atMs += random.whole(1_500, quick ? 4_500 : 7_000)) {
    const kind = deck.pop() ?? pickKind(random, kinds);
    const [from, to] = faultFacts(kind).lastsMs ?? [0, 0];
    faults.push({ kind, atMs, dice: random.next(), lastsMs: random.whole(from, to) });
  }
  return faults;
}

export function quickKinds(): FaultKind[] {
  const kinds = Object.keys(FAULT_KINDS) as FaultKind[];
  return kinds.filter((kind) => (faultFacts(kind).lastsMs?.[1] ?? 0) <= 10_000 && kind !== 'kill-everything');
}

function pickKind(random: Random, kinds: readonly FaultKind[]): FaultKind {
  return random.pick(kinds.flatMap((kind) => Array.from({ length: faultFacts(kind).weight }, () => kind)));
}

function planRun(random: Random, name: string, quick: boolean): Omit<PlannedRun, 'atMs'> {
  const nodes = random.chance(0.25) ? NODE_COUNT : 1;
  const gpus = nodes > 1 ? random.pick([2, 4, 8]) : random.pick([0, 0, 1, 1, 1, 2, 3, 4]);
  const isPreemptible = random.chance(0.2);
  const life = pickLife(random, nodes);
  const forSeconds = quick ? random.whole(1, 5) : random.pick([1, 2, 3, 5, 8, 12, 20, 30]);
  const program = planProgram(random, { life, forSeconds, quick });
  return {
    name,
    program,
    gpus,
    nodes,
    preemptible: isPreemptible,
    priority: isPreemptible ? 'low' : random.pick(['medium', 'medium', 'high']),
    maxRetries: life.maxRetries ?? 0,
    ...(life.ordered === 'limit' ? { maxDurationMs: forSeconds * 1_000 } : {}),
    ...(life.ordered === 'stop' ? { stopAfterMs: forSeconds * 1_000 } : {}),
    followed: nodes === 1 && random.chance(0.25),
  };
}

interface Life {
  readonly end: End;
  readonly holdsOn?: boolean;
  readonly maxRetries?: number;
  /** What ends a program that would never end by itself. */
  readonly ordered?: 'stop' | 'limit';
}

function pickLife(random: Random, nodes: number): Life {
  const code = random.whole(1, 99);
  const lives: readonly (readonly [weight: number, life: Life])[] = [
    [10, { end: { type: 'exit', code: 0 } }],
    [2, { end: { type: 'exit', code } }],
    [1, { end: { type: 'exit', code }, maxRetries: 1 }],
    [2, { end: { type: 'fails-before', resumption: 2, code }, maxRetries: 2 }],
    [1, { end: { type: 'signal', signal: 'SEGV' } }],
    [1, { end: { type: 'signal', signal: 'KILL' } }],
    [3, { end: { type: 'exit', code: 0 }, ordered: 'stop' }],
    [1, { end: { type: 'exit', code: 0 }, ordered: 'limit' }],
    [nodes > 1 ? 4 : 0, { end: { type: 'rank-fails', rank: 1, code } }],
    [nodes > 1 ? 12 : 0, { end: { type: 'exit', code: 0 }, holdsOn: true }],
  ];
  return random.pick(lives.flatMap(([weight, life]) => Array.from({ length: weight }, () => life)));
}

function planProgram(
  random: Random,
  { life, forSeconds, quick }: { readonly life: Life; readonly forSeconds: number; readonly quick: boolean },
): Program {
  const [burst, pauseMs] = random.pick([
    [1, 200],
    [1, 50],
    [7, 250],
    [400, 300],
    [2_000, 500],
  ] as const);
  const lines = Math.max(1, Math.round((forSeconds * 1_000) / pauseMs)) * burst;
  return {
    lines: life.ordered === undefined ? lines : null,
    burst,
    pauseMs,
    binary: random.chance(0.2),
    onTerm:
      life.ordered === undefined
        ? 'unprepared'
        : // Who ignores SIGTERM takes the whole grace.
          random.pick(['unprepared', 'save', 'linger', ...(quick ? [] : (['ignore'] as const))] as const),
    end: life.end,
    holdsOn: life.holdsOn ?? false,
  };
}
