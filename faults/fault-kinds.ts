/** What the suite does to the parts. What each of it may cost, docs/faults.md says and `causes.ts` knows. */
interface FaultKindFacts {
  /** How often it comes, in relation to the others. */
  readonly weight: number;
  /** For how long it lasts, in milliseconds; absent: a blow. */
  readonly lastsMs?: readonly [from: number, to: number];
  /** Of which nodes nothing is heard meanwhile: only these can make a node be given up. */
  readonly silences?: 'its node' | 'all nodes';
  /** Whose Docker is hurt: it may lose lines, exit codes, and containers that it is just starting. */
  readonly hurtsDocker?: 'its node' | 'all nodes';
}

/** As short as the suite can wait for its end. */
export const LEASE_MS = 20_000;

/** Longer than a lease and all that follows from its end. */
const LONGER_THAN_A_LEASE = [32_000, 40_000] as const;

export const FAULT_KINDS = {
  'kill-agent': { weight: 6, silences: 'its node' },
  'kill-guard': { weight: 2 },
  'restart-agent': { weight: 3, silences: 'its node' },
  'stall-agent': { weight: 2, lastsMs: [2_000, 5_000], silences: 'its node' },
  'stall-agent-long': { weight: 1, lastsMs: LONGER_THAN_A_LEASE, silences: 'its node' },
  'cut-node': { weight: 3, lastsMs: [1_000, 4_000], silences: 'its node' },
  'cut-node-long': { weight: 2, lastsMs: LONGER_THAN_A_LEASE, silences: 'its node' },
  'cut-nats': { weight: 2, lastsMs: [2_000, 10_000] },
  'kill-dockerd': { weight: 3, hurtsDocker: 'its node' },
  'fill-disk': { weight: 1, lastsMs: [2_000, 6_000], hurtsDocker: 'its node' },
  'kill-container': { weight: 4 },
  'kill-control-worker': { weight: 3 },
  'kill-cluster-worker': { weight: 3 },
  'restart-workers': { weight: 2 },
  'kill-supervisor': { weight: 2 },
  'kill-temporal': { weight: 3, silences: 'all nodes' },
  'kill-nats': { weight: 3 },
  'kill-everything': { weight: 1, silences: 'all nodes', hurtsDocker: 'all nodes' },
} as const satisfies Record<string, FaultKindFacts>;

export type FaultKind = keyof typeof FAULT_KINDS;

export const faultFacts = (kind: FaultKind): FaultKindFacts => FAULT_KINDS[kind];
