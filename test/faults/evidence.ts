/** Builds evidence of a day on which nothing went wrong; tests then change what they need. */
import type {
  ContainerLife,
  Evidence,
  Execution,
  Fault,
  LeaseTime,
  NodeLoss,
  RankLog,
  RunOrder,
  Silence,
} from '../../faults/evidence.ts';
import { lineOf, naturalExit } from '../../faults/program.ts';
import type { Program } from '../../faults/program.ts';

export const COUNTS_TO_FIVE: Program = {
  lines: 5,
  burst: 1,
  pauseMs: 100,
  binary: false,
  onTerm: 'unprepared',
  end: { type: 'exit', code: 0 },
  holdsOn: false,
};
export const ENDLESS: Program = { ...COUNTS_TO_FIVE, lines: null };

export const RUN = 'a-000001';
/** What one resumption of the run of the tests takes, in milliseconds. */
const RESUMPTION_MS = 1_000;

/** The exit code of a program that was told to stop. */
const TOLD = 143;

interface Day {
  readonly program?: Program;
  readonly order?: Partial<RunOrder>;
  readonly faults?: readonly Fault[];
  readonly silences?: readonly Silence[];
  readonly losses?: readonly NodeLoss[];
  /** Node of each rank, for each resumption. */
  readonly resumptions?: readonly (readonly string[])[];
  /** Of the last resumption; by default what the program says. */
  readonly end?: { readonly status: string; readonly reason: string; readonly exitCode?: number };
}

/** One run on nodes n0 and n1 of two GPUs each: every resumption takes GPU 0 of its nodes for a second. */
export function aDay({
  program = COUNTS_TO_FIVE,
  order,
  faults = [],
  silences = [],
  losses = [],
  resumptions = [['n0']],
  end,
}: Day = {}) {
  const code = naturalExit(program, { run: RUN, resumption: resumptions.length - 1, rank: 0 });
  const ending =
    end ??
    (code === 0
      ? { status: 'COMPLETED', reason: '' }
      : { status: 'FAILED', reason: 'NonZeroExit', exitCode: code ?? 0 });
  const steps = resumptions.flatMap((_, resumption) => {
    const at = resumption * RESUMPTION_MS;
    const isLast = resumption === resumptions.length - 1;
    return ['QUEUED', 'STARTING', 'RUNNING', 'TERMINATING', ...(isLast ? [ending.status] : [])].map(
      (status, index) => ({
        at: at + index * 200,
        status,
        reason: status === ending.status ? ending.reason : '',
        resumption,
        message: '',
      }),
    );
  });
  const { reason: _, ...result } = ending;
  const execution: Execution = {
    run: RUN,
    executionId: 'execution-1',
    startedAt: 0,
    steps,
    closed: { at: resumptions.length * RESUMPTION_MS, type: 'ended', ...result },
  };
  const containers = resumptions.flatMap((nodes, resumption) =>
    nodes.map((node, rank): ContainerLife => {
      const name = { run: RUN, resumption, rank };
      const natural = naturalExit(program, name);
      const isLast = resumption === resumptions.length - 1;
      // One that ends well by itself is not followed by another.
      const exitCode = natural === 0 && !isLast ? TOLD : natural;
      return {
        ...name,
        node,
        id: `container-${resumption}-${rank}`,
        fence: resumption + 1,
        gpuIds: [0],
        startedAt: resumption * RESUMPTION_MS + 300,
        aliveUntil: resumption * RESUMPTION_MS + 700,
        ...(exitCode === undefined ? {} : { exitCode }),
        seen: printed(program, name),
      };
    }),
  );
  const leases = resumptions.map((nodes, resumption): LeaseTime => ({
    run: RUN,
    resumption,
    fence: resumption + 1,
    ranks: nodes.map((node) => ({ node, gpuIds: [0] })),
    ...heldFor(resumption * RESUMPTION_MS + 100, resumption * RESUMPTION_MS + 900),
  }));
  return {
    seed: 1,
    until: 10_000,
    nodes: ['n0', 'n1'].map((name) => ({ name, gpus: 2, cpuSlots: 1 })),
    orders: [
      {
        name: 'a',
        program,
        ranks: resumptions[0]?.length ?? 1,
        gpus: resumptions[0]?.length ?? 1,
        priority: 'medium',
        preemptible: false,
        maxRetries: 0,
        hasTimeLimit: false,
        accepted: [RUN],
        unanswered: 0,
        stops: {},
        ...order,
      },
    ],
    probes: [],
    executions: [execution] as [Execution],
    containers,
    leases,
    logs: containers.map(({ run, resumption, rank, startedAt, seen }): RankLog => ({
      run,
      resumption,
      rank,
      text: seen,
      times: timesOf(seen, startedAt),
    })),
    follows: [],
    reads: [],
    silences,
    losses,
    faults,
    skipped: [],
  } satisfies Evidence;
}

/** Of a lease: its events have their times as numbers. */
export const heldFor = (grantedAt: number, endedAt: number) => ({
  grantedAt,
  grantedEvent: grantedAt,
  endedAt,
  endedEvent: endedAt,
});

/** One whose end nobody saw. */
export function withoutExit(life: ContainerLife): ContainerLife {
  const { exitCode: _, ...unseen } = life;
  return unseen;
}

/** A line every 50 ms. */
const timesOf = (text: string, startedAt: number): number[] =>
  text
    .split('\n')
    .slice(1)
    .map((_, index) => startedAt + 50 * index);

function printed(program: Program, name: { run: string; resumption: number; rank: number }): string {
  const count = program.lines ?? 5;
  return Array.from({ length: count }, (_, index) => `${lineOf(program, name, index + 1)}\n`).join('');
}

/** A node of which nothing was heard for so long that it was given up; by default n0 in the first resumption. */
export function aLoss({ node = 'n0', from = -7_500, at = 550, to = 2_000 } = {}) {
  return { silences: [{ node, from, to }], losses: [{ node, at, heardAt: at, heardEvent: at }] };
}

/** The disturbance that such a loss follows from. */
export const aCut = (change: Partial<Fault> = {}): Fault =>
  aFault('cut-node-long', { at: -7_000, mendedAt: 1_500, wellAt: 2_000, ...change });

export function aFault(kind: Fault['kind'], change: Partial<Fault> = {}): Fault {
  const at = change.at ?? 500;
  return { kind, target: 'n0', at, mendedAt: at, wellAt: at + 1_000, ...change };
}
