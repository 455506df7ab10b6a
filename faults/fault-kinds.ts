/** What the suite does to the parts, and what each of it may cost. */
interface FaultKindFacts {
  /** How often it comes, in relation to the others. */
  readonly weight: number;
  /** What a run on the node may have to do because of it: go on as if nothing had been, or begin again. */
  readonly runs: 'go-on' | 'may-begin-again';
  /** For how long it lasts, in milliseconds; absent: a blow. */
  readonly lastsMs?: readonly [from: number, to: number];
}

/** A node that is away for so long may count as lost. */
export const OUTAGE_MS = 6_000;

/** Longer than a lease (LEASE_SECONDS in fault-node.ts) and all that follows from its end. */
const LONGER_THAN_A_LEASE = [32_000, 40_000] as const;

export const FAULT_KINDS = {
  'kill-agent': { weight: 6, runs: 'go-on' },
  'kill-guard': { weight: 2, runs: 'go-on' },
  'restart-agent': { weight: 3, runs: 'go-on' },
  'stall-agent': { weight: 2, runs: 'go-on', lastsMs: [2_000, 5_000] },
  'stall-agent-long': {
    weight: 1,
    runs: 'may-begin-again',
    lastsMs: LONGER_THAN_A_LEASE,
  },
  'cut-node': { weight: 3, runs: 'go-on', lastsMs: [1_000, 4_000] },
  'cut-node-long': { weight: 2, runs: 'may-begin-again', lastsMs: LONGER_THAN_A_LEASE },
  'cut-nats': { weight: 2, runs: 'go-on', lastsMs: [2_000, 10_000] },
  'kill-dockerd': { weight: 3, runs: 'go-on' },
  'fill-disk': { weight: 1, runs: 'may-begin-again', lastsMs: [2_000, 6_000] },
  'kill-container': { weight: 4, runs: 'may-begin-again' },
  'kill-control-worker': { weight: 3, runs: 'go-on' },
  'kill-cluster-worker': { weight: 3, runs: 'go-on' },
  'restart-workers': { weight: 2, runs: 'go-on' },
  'kill-supervisor': { weight: 2, runs: 'go-on' },
  'kill-temporal': { weight: 3, runs: 'go-on' },
  'kill-nats': { weight: 3, runs: 'go-on' },
  'kill-everything': { weight: 1, runs: 'go-on' },
} as const satisfies Record<string, FaultKindFacts>;

export type FaultKind = keyof typeof FAULT_KINDS;

export const faultFacts = (kind: FaultKind): FaultKindFacts => FAULT_KINDS[kind];
