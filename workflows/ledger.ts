/**
 * What a cluster workflow keeps: nodes, queue and leases, and what it has to tell the runs. Changed by messages and by
 * the decisions of the planner; never asks anybody.
 */
import type { ClusterNotice, Plan, RoundStart } from '../activities/contract.ts';
import { resumptionKey } from '../core/cluster.ts';
import type { CapacityRequest, ClusterNode, ClusterSnapshot, Lease, RankPlacement } from '../core/cluster.ts';
import { packCluster, unpackCluster } from '../core/cluster-state.ts';
import type { PackedCluster } from '../core/cluster-state.ts';
import { emptyHistory, learn } from '../core/estimates.ts';
import type { RunTimeHistory } from '../core/estimates.ts';
import { plan } from '../core/scheduler.ts';
import type {
  ClusterView,
  KeptOrder,
  NodeReport,
  QueuePage,
  QueuePosition,
  Release,
  Revocation,
} from './messages.ts';
import { UnheardRuns } from './unheard-runs.ts';

/** About 500 bytes each: a payload may have 2 MB. */
const MAX_NOTICES = 1_000;
/** A look at a run takes the server 5 ms. */
const MAX_CHECKED_RUNS = 200;
/** How long a forecast is told again. */
const FORECAST_MS = 5_000;
/** Failures of a node in a row, without a run that ended well, until nothing new starts there. */
const INCIDENTS_TO_CORDON = 3;
/** The Web UI is for people. */
const MAX_SHOWN_NODES = 50;

/** What a cluster hands on to its next execution. */
export interface CarriedCluster extends PackedCluster {
  /** What the runs and nodes have yet to hear; absent when nothing is left. */
  readonly notices?: readonly PackedNotice[];
  /** When runs that ended without a word are looked for next, epoch milliseconds. */
  readonly sweepAt?: number;
}

/** The lease of a grant stands in the cluster: a thousand grants would fill half of what a payload may have. */
type PackedNotice =
  | { readonly type: 'granted'; readonly run: string; readonly resumption: number }
  | Exclude<ClusterNotice, { readonly type: 'granted' }>;

export class Ledger {
  /** True when something has happened since the last plan. Only builds before rounds ask for it. */
  changed = true;
  /** How many messages have come. */
  messages = 0;
  /** Grows with every change. */
  private version = 0;
  /** Decides as builds did before rounds: for replays of their histories. */
  private readonly beforeRounds: boolean;
  private readonly cluster: string;
  private readonly nodes: Map<string, ClusterNode>;
  private readonly queue: Map<string, CapacityRequest>;
  private readonly leases: Map<string, Lease>;
  /** The newest resumption of each run that is here. */
  private readonly newest = new Map<string, number>();
  /** Runs that the last sweep found ended. */
  private suspects: Set<string>;
  private readonly unheard: UnheardRuns;
  /** Runs that got their lease in the pass that is being delivered. */
  private readonly admitted = new Set<string>();
  private sweeps: number;
  private readonly outbox: ClusterNotice[];
  private nextFence: number;
  private readonly history: RunTimeHistory;
  private waiting:
    { readonly version: number; readonly now: number; readonly waits: readonly QueuePosition[] } | undefined;

  constructor(packed: CarriedCluster, { beforeRounds = false } = {}) {
    const state = unpackCluster(packed);
    this.beforeRounds = beforeRounds;
    this.cluster = state.cluster;
    this.nodes = new Map(state.nodes.map((node) => [node.node, node]));
    this.queue = new Map(state.queue.map((request) => [resumptionKey(request), request]));
    this.leases = new Map(state.leases.map((lease) => [resumptionKey(lease.request), lease]));
    for (const { run, resumption } of [...state.queue, ...state.leases.map(({ request }) => request)]) {
      this.newest.set(run, Math.max(resumption, this.newest.get(run) ?? 0));
    }
    this.nextFence = state.nextFence;
    this.history = state.history;
    this.suspects = new Set(state.suspects);
    this.sweeps = state.sweeps ?? 0;
    this.unheard = new UnheardRuns(state.unheard ?? [], state.fresh);
    this.outbox = (packed.notices ?? []).flatMap((notice) => this.unpackNotice(notice));
  }

  /** After a loss of all memory: nothing is given out before these runs have told what they hold. */
  expect(runs: readonly string[]): void {
    this.unheard.expect(runs);
  }

  request(request: CapacityRequest, held?: Lease): void {
    this.hear(request.run);
    if (!this.beforeRounds && !this.isNewest(request)) return;
    const key = resumptionKey(request);
    const lease = this.leases.get(key) ?? held;
    if (!lease) {
      this.queue.set(key, request);
      return;
    }
    const isRestored = !this.beforeRounds && !this.leases.has(key);
    // Asked again: after a lost answer, a reset of the run, a change of its scheduling, or a restart of this cluster.
    // The same lease is the answer, with what is new in the request.
    const renewed = { ...lease, request };
    this.leases.set(key, renewed);
    this.nextFence = Math.max(this.nextFence, lease.fence + 1);
    this.outbox.push({ type: 'granted', grant: this.grant(renewed) });
    if (isRestored) this.examine(key, renewed);
  }

  /** A request of a resumption that is over may come late, when its answer was lost. */
  private isNewest({ run, resumption }: CapacityRequest): boolean {
    const known = this.newest.get(run);
    if (known !== undefined && known > resumption) return false;
    this.newest.set(run, resumption);
    if (known === undefined || known === resumption) return true;
    const over = resumptionKey({ run, resumption: known });
    this.queue.delete(over);
    this.leases.delete(over);
    return true;
  }

  /** What a run says it holds may be lost by now, or given to another that did not wait for it. */
  private examine(key: string, restored: Lease): void {
    for (const { node: name } of restored.ranks) {
      const node = this.nodes.get(name);
      if (!node || node.alive || node.leaseMs === null) continue;
      this.revoke(key, restored, lost(name, node.leaseMs));
    }
    const gpus = new Set(restored.ranks.flatMap(gpusOf));
    for (const [otherKey, other] of this.leases) {
      if (otherKey === key || !other.ranks.flatMap(gpusOf).some((gpu) => gpus.has(gpu))) continue;
      const [loserKey, loser] = other.fence > restored.fence ? [otherKey, other] : [key, restored];
      const message = 'Its GPUs were given out twice, since the cluster had lost its memory.';
      this.revoke(loserKey, loser, { type: 'Preempted', message });
    }
  }

  release(ref: Release): void {
    this.hear(ref.run);
    this.take(ref);
  }

  private take(ref: Release): void {
    this.touch();
    if (this.newest.get(ref.run) === ref.resumption) this.newest.delete(ref.run);
    const key = resumptionKey(ref);
    this.queue.delete(key);
    const lease = this.leases.get(key);
    if (!lease) return;
    this.leases.delete(key);
    if (ref.ranToEnd) {
      learn(this.history, lease.request, Date.now() - lease.grantedAt);
      for (const { node } of lease.ranks) this.forgive(node);
    }
    if (ref.nodeFailure) this.blame(ref.nodeFailure, lease);
  }

  /** One cause may fail many runs of a node together: it counts once, for leases granted since the last. */
  private blame({ node: name, message }: NonNullable<Release['nodeFailure']>, lease: Lease): void {
    const node = this.nodes.get(name);
    if (!node || node.cordoned || lease.fence < (node.incidents?.nextFence ?? 0)) return;
    const count = (node.incidents?.count ?? 0) + 1;
    const cordoned = count >= INCIDENTS_TO_CORDON;
    const reason = `${count} failures in a row, the last: ${message}`;
    const incidents = { count, nextFence: this.nextFence };
    this.nodes.set(name, { ...node, incidents, cordoned, ...(cordoned ? { cordonReason: reason } : {}) });
    if (cordoned) this.keep(name, { type: 'cordoned', reason });
  }

  private forgive(name: string): void {
    const node = this.nodes.get(name);
    if (!node?.incidents) return;
    const { incidents: _, ...innocent } = node;
    this.nodes.set(name, innocent);
  }

  report(report: NodeReport): void {
    this.messages += 1;
    this.touch();
    if (report.type === 'joined') {
      const { inventory, cordon } = report;
      const known = this.nodes.get(inventory.node);
      const kept = cordon && !this.beforeRounds ? { cordoned: true, ...optionalReason(cordon.reason) } : {};
      this.nodes.set(inventory.node, { cordoned: false, ...kept, ...known, ...inventory, alive: true });
      return;
    }
    const node = this.nodes.get(report.node);
    if (!node) {
      if (!this.beforeRounds) this.loseUnknown(report);
      return;
    }
    switch (report.type) {
      case 'lost':
        this.nodes.set(node.node, { ...node, alive: false });
        // A node that never lets go of its runs goes on with them when it is back.
        if (node.leaseMs === null) break;
        this.revokeAll(lost(node.node, node.leaseMs));
        break;
      case 'cordoned':
        this.nodes.set(node.node, { ...node, cordoned: true, ...optionalReason(report.reason) });
        this.keep(node.node, report);
        break;
      case 'uncordoned': {
        const { cordonReason: _, incidents: __, ...trusted } = node;
        this.nodes.set(node.node, { ...trusted, cordoned: false });
        this.keep(node.node, { type: 'uncordoned' });
        break;
      }
      case 'drained':
        this.nodes.set(node.node, { ...node, cordoned: true });
        this.keep(node.node, { type: 'cordoned' });
        this.revokeAll({
          type: 'Preempted',
          node: node.node,
          message: `Node ${node.node} is being drained.`,
        });
        break;
      case 'deleted':
        this.nodes.delete(node.node);
        this.keep(node.node, { type: 'deleted' });
        this.revokeAll(deleted(node.node));
        break;
    }
  }

  /** Of a node that was never heard of since the cluster lost its memory; its runs may have been. */
  private loseUnknown(report: Exclude<NodeReport, { readonly type: 'joined' }>): void {
    if (report.type === 'lost' && report.leaseMs !== null) this.revokeAll(lost(report.node, report.leaseMs));
    if (report.type !== 'deleted') return;
    this.keep(report.node, { type: 'deleted' });
    this.revokeAll(deleted(report.node));
  }

  /** Has the node's own workflow remember it. */
  private keep(node: string, order: KeptOrder): void {
    if (!this.beforeRounds) this.outbox.push({ type: 'node', cluster: this.cluster, node, order });
  }

  private revokeAll(why: Cause & { readonly node: string }): void {
    for (const [key, lease] of this.leases) {
      if (lease.ranks.some(({ node }) => node === why.node)) this.revoke(key, lease, why);
    }
  }

  /** Some of the runs that hold or want capacity; in turn, so that every sweep costs the same and all are looked at. */
  runsToCheck(): { readonly runs: readonly string[]; readonly queued: readonly string[] } {
    const holders = [...this.leases.values()].map(({ request }) => request.run);
    const waiting = [...this.queue.values()].map(({ run }) => run);
    this.sweeps += 1;
    const runs = [
      ...new Set([
        ...this.suspects,
        ...turn(holders, this.sweeps),
        ...turn(waiting, this.sweeps),
        ...turn(this.unheard.names, this.sweeps),
      ]),
    ];
    const held = new Set(holders);
    return { runs, queued: runs.filter((run) => !held.has(run)) };
  }

  /** Frees what runs still hold that have ended without a word, once their agents had the time to clear up. */
  sweep(endedRuns: readonly string[]): void {
    this.unheard.sweep(endedRuns);
    this.forget(endedRuns.filter((run) => this.suspects.has(run)));
    this.suspects = new Set(endedRuns);
    // Time alone can let a run start: an estimate that was outlived moves the reservation that it waits for.
    this.touch();
  }

  /** Takes back the leases of this pass that found nobody: their runs have ended, and never started a container. */
  takeBack(goneRuns: readonly string[]): void {
    this.forget(goneRuns.filter((run) => this.admitted.has(run)));
    this.admitted.clear();
  }

  private forget(endedRuns: readonly string[]): void {
    if (endedRuns.length === 0) return;
    const ended = new Set(endedRuns);
    const leased = [...this.leases.values()].map(({ request }) => request);
    for (const request of [...leased, ...this.queue.values()]) {
      if (ended.has(request.run)) this.take({ ...request, ranToEnd: false });
    }
  }

  /** What the planner is told, and what else there is to do. */
  roundStart({ isTimerSet, isSweepDue }: Pick<RoundStart, 'isTimerSet' | 'isSweepDue'>): RoundStart {
    const isIdle = this.isIdle() && this.unheard.isEmpty;
    const mayPlan = this.queue.size > 0 && this.unheard.isEmpty;
    return {
      messages: this.messages,
      ...(mayPlan ? { cluster: this.state() } : {}),
      isIdle,
      hasNotices: this.hasNotices(),
      isTimerSet,
      isSweepDue,
    };
  }

  /** True when a planner could find something to do. */
  get needsPlan(): boolean {
    return this.changed && this.queue.size > 0;
  }

  /** Carries out a plan, as far as it still fits: messages may have come while it was made. */
  carryOut({ admissions, preemptions }: Plan, now: number): void {
    const held = new Set([...this.leases.values()].flatMap(({ ranks }) => ranks.flatMap(gpusOf)));
    for (const { run, resumption, ranks } of admissions) {
      const request = this.queue.get(resumptionKey({ run, resumption }));
      const gpus = ranks.flatMap(gpusOf);
      const stillFits =
        ranks.every(({ node }) => this.isInService(node)) && !gpus.some((gpu) => held.has(gpu));
      if (!request || !stillFits) {
        this.touch();
        continue;
      }
      for (const gpu of gpus) held.add(gpu);
      this.admit(request, ranks, now);
    }
    for (const preemption of preemptions) {
      const key = resumptionKey(preemption);
      const lease = this.leases.get(key);
      if (!lease || (!this.beforeRounds && !lease.request.preemptible)) continue;
      const { inFavourOf } = preemption;
      const message = `Gave way to ${inFavourOf}, which has a higher priority.`;
      this.revoke(key, { ...lease, revokedFor: inFavourOf }, { type: 'Preempted', message });
    }
  }

  /** What the runs must hear next. */
  takeNotices(): ClusterNotice[] {
    return this.outbox.splice(0, MAX_NOTICES);
  }

  hasNotices(): boolean {
    return this.outbox.length > 0;
  }

  isIdle(): boolean {
    return this.queue.size === 0 && this.leases.size === 0;
  }

  queuePosition(run: string): QueuePosition | null {
    return this.waits().find((waiting) => waiting.run === run) ?? null;
  }

  allNodes(): ClusterNode[] {
    return [...this.nodes.values()];
  }

  view({ from, count }: QueuePage = { from: 0, count: Infinity }): ClusterView {
    const snapshot = this.snapshot();
    const queue = snapshot.queue.slice(from, from + count);
    const waiting = this.waits().slice(from, from + count);
    const queued = snapshot.queue.length;
    return from === 0
      ? { snapshot: { ...snapshot, queue }, waiting, history: this.history, queued }
      : { snapshot: { ...snapshot, nodes: [], leases: [], queue }, waiting, history: emptyHistory(), queued };
  }

  state(): PackedCluster {
    return packCluster({
      ...this.snapshot(),
      nextFence: this.nextFence,
      fresh: false,
      history: this.history,
      suspects: [...this.suspects],
      sweeps: this.sweeps,
      unheard: this.unheard.names,
    });
  }

  /** With what the runs have yet to hear: for the next execution. */
  carried(): CarriedCluster {
    const notices = this.outbox.map(packNotice);
    return { ...this.state(), ...(notices.length > 0 ? { notices } : {}) };
  }

  private unpackNotice(notice: PackedNotice): ClusterNotice[] {
    if (notice.type !== 'granted') return [notice];
    const lease = this.leases.get(resumptionKey(notice));
    return lease ? [{ type: 'granted', grant: this.grant(lease) }] : [];
  }

  details(): string {
    const used = new Map<string, number>();
    for (const { ranks } of this.leases.values()) {
      for (const { node, gpuIds } of ranks) used.set(node, (used.get(node) ?? 0) + gpuIds.length);
    }
    const rows = this.allNodes()
      .slice(0, MAX_SHOWN_NODES)
      .map((node) => {
        const state = node.alive ? (node.cordoned ? 'cordoned' : 'alive') : 'lost';
        const gpus = `${used.get(node.node) ?? 0} / ${node.gpus}`;
        return `| ${node.node} | ${state} | ${node.gpuType ?? 'cpu'} | ${gpus} |`;
      });
    return [
      `### ${this.leases.size} runs hold capacity, ${this.queue.size} wait`,
      ['| node | state | type | GPUs used |', '|---|---|---|---|', ...rows].join('\n'),
    ].join('\n\n');
  }

  /** Why each queued run waits. Made only when somebody asks, and not part of what is replayed. */
  private waits(): readonly QueuePosition[] {
    const now = Date.now();
    const known = this.waiting;
    // Forecasts age while nothing happens; pages that are read one after the other belong to one of them.
    if (known?.version === this.version && now - known.now < FORECAST_MS) return known.waits;
    const decisions = plan(this.snapshot(), now, this.history);
    const waits = decisions.filter((decision) => decision.type === 'WAIT');
    this.waiting = { version: this.version, now, waits };
    return waits;
  }

  private isInService(node: string): boolean {
    const known = this.nodes.get(node);
    return known !== undefined && known.alive && !known.cordoned;
  }

  private snapshot(): ClusterSnapshot {
    return {
      cluster: this.cluster,
      nodes: this.allNodes(),
      queue: [...this.queue.values()],
      leases: [...this.leases.values()],
    };
  }

  private admit(request: CapacityRequest, ranks: Lease['ranks'], now: number): void {
    const lease: Lease = { request, ranks, fence: this.nextFence, grantedAt: now };
    this.nextFence += 1;
    this.queue.delete(resumptionKey(request));
    this.leases.set(resumptionKey(request), lease);
    this.admitted.add(request.run);
    this.outbox.push({ type: 'granted', grant: this.grant(lease) });
  }

  private grant(lease: Lease): { lease: Lease; masterAddress: string } {
    const first = lease.ranks[0];
    return { lease, masterAddress: (first && this.nodes.get(first.node)?.address) ?? '127.0.0.1' };
  }

  private hear(run: string): void {
    this.messages += 1;
    this.touch();
    this.unheard.hear(run);
  }

  private touch(): void {
    this.changed = true;
    this.version += 1;
  }

  private revoke(key: string, lease: Lease, why: Cause): void {
    this.leases.set(key, lease);
    const { run, resumption } = lease.request;
    this.outbox.push({ type: 'revoked', revocation: { run, resumption, ...why } });
  }
}

function packNotice(notice: ClusterNotice): PackedNotice {
  if (notice.type !== 'granted') return notice;
  const { run, resumption } = notice.grant.lease.request;
  return { type: 'granted', run, resumption };
}

type Cause = Pick<Revocation, 'type' | 'message' | 'node' | 'leaseMs'>;

function lost(node: string, leaseMs?: number): Cause & { readonly node: string } {
  const message = `Node ${node} no longer answers.`;
  return { type: 'NodeLost', node, message, ...(leaseMs === undefined ? {} : { leaseMs }) };
}

function deleted(node: string): Cause & { readonly node: string } {
  return { type: 'NodeLost', node, message: `Node ${node} was deleted.` };
}

const optionalReason = (reason: string | undefined) => (reason === undefined ? {} : { cordonReason: reason });

const gpusOf = ({ node, gpuIds }: RankPlacement): string[] => gpuIds.map((gpu) => `${node}/${gpu}`);

/** Of a long list, the share that is due. */
function turn(runs: readonly string[], sweep: number): readonly string[] {
  const from = (sweep * MAX_CHECKED_RUNS) % Math.max(1, runs.length);
  return runs.length <= MAX_CHECKED_RUNS ? runs : [...runs, ...runs].slice(from, from + MAX_CHECKED_RUNS);
}
