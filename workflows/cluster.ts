/**
 * A cluster: a priority semaphore over its GPUs, around the pure planner of `core/scheduler.ts`. Handlers only change
 * the state; one planning pass answers all signals of a wake-up, and one activity delivers all its grants.
 */
import {
  allHandlersFinished,
  condition,
  continueAsNew,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { ClusterActivities, LeaseNotice } from '../activities/contract.ts';
import { resumptionKey } from '../core/cluster.ts';
import type { CapacityRequest, ClusterNode, ClusterSnapshot, Lease } from '../core/cluster.ts';
import type { ClusterState } from '../core/cluster-state.ts';
import { emptyHistory, learn } from '../core/estimates.ts';
import type { RunTimeHistory } from '../core/estimates.ts';
import { plan } from '../core/scheduler.ts';
import {
  clusterNodesQuery,
  clusterViewQuery,
  nodeReportSignal,
  queuePositionQuery,
  releaseCapacitySignal,
  requestCapacitySignal,
} from './messages.ts';
import type { ClusterView, NodeReport, QueuePage, QueuePosition, Revocation } from './messages.ts';

/** Replay costs about half a millisecond per event, and a task has 5 s: far below Temporal's own suggestion of 4,096. */
const MAX_HISTORY_EVENTS = 1_000;
/** A terminated run never gives its capacity back by itself; its agent does, and after two sweeps this cluster. */
const SWEEP_INTERVAL_MS = 30_000;

export async function cluster(initial: ClusterState): Promise<void> {
  const ledger = new Ledger(initial);
  setHandler(requestCapacitySignal, (request, held) => ledger.request(request, held));
  setHandler(releaseCapacitySignal, (ref) => ledger.release(ref));
  setHandler(nodeReportSignal, (report) => ledger.report(report));
  setHandler(clusterViewQuery, (page) => ledger.view(page));
  setHandler(clusterNodesQuery, () => ledger.allNodes());
  setHandler(queuePositionQuery, (run) => ledger.queuePosition(run));
  const activities = proxyActivities<ClusterActivities>({
    startToCloseTimeout: '60s',
    retry: { initialInterval: '1s', maximumInterval: '10s' },
  });
  const mustContinue = (): boolean =>
    workflowInfo().continueAsNewSuggested || workflowInfo().historyLength > MAX_HISTORY_EVENTS;

  if (initial.fresh) await activities.recall({ cluster: initial.cluster });
  let nextSweepAt = Date.now() + SWEEP_INTERVAL_MS;
  while (!mustContinue() || ledger.hasNotices()) {
    // An idle cluster sets no timer, so that it costs no history.
    if (ledger.isIdle()) await condition(() => ledger.changed);
    else await condition(() => ledger.changed, Math.max(1, nextSweepAt - Date.now()));
    if (Date.now() >= nextSweepAt && !ledger.isIdle()) {
      nextSweepAt = Date.now() + SWEEP_INTERVAL_MS;
      ledger.sweep(await activities['find-ended-runs']({ runs: ledger.runs() }));
    }
    const notices = ledger.plan(Date.now());
    setCurrentDetails(ledger.details());
    if (notices.length > 0) ledger.forget(await activities['notify-runs']({ notices }));
  }
  await condition(allHandlersFinished);
  await continueAsNew<typeof cluster>(ledger.state());
}

class Ledger {
  changed = true;
  private readonly cluster: string;
  private readonly nodes: Map<string, ClusterNode>;
  private readonly queue: Map<string, CapacityRequest>;
  private readonly leases: Map<string, Lease>;
  /** Runs that the last sweep found ended. */
  private suspects = new Set<string>();
  private readonly outbox: LeaseNotice[] = [];
  private nextFence: number;
  private readonly history: RunTimeHistory;
  private waiting: readonly QueuePosition[] = [];

  constructor(state: ClusterState) {
    this.cluster = state.cluster;
    this.nodes = new Map(state.nodes.map((node) => [node.node, node]));
    this.queue = new Map(state.queue.map((request) => [resumptionKey(request), request]));
    this.leases = new Map(state.leases.map((lease) => [resumptionKey(lease.request), lease]));
    this.nextFence = state.nextFence;
    this.history = state.history;
  }

  request(request: CapacityRequest, held?: Lease): void {
    this.changed = true;
    const key = resumptionKey(request);
    const lease = this.leases.get(key) ?? held;
    if (!lease) {
      this.queue.set(key, request);
      return;
    }
    // Asked again: after a lost answer, a reset of the run, a change of its scheduling, or a restart of this cluster.
    // The same lease is the answer, with what is new in the request.
    const renewed = { ...lease, request };
    this.leases.set(key, renewed);
    this.nextFence = Math.max(this.nextFence, lease.fence + 1);
    this.outbox.push({ type: 'granted', grant: this.grant(renewed) });
  }

  release(ref: { readonly run: string; readonly resumption: number }): void {
    this.changed = true;
    const key = resumptionKey(ref);
    this.queue.delete(key);
    const lease = this.leases.get(key);
    if (!lease) return;
    this.leases.delete(key);
    learn(this.history, lease.request, Date.now() - lease.grantedAt);
  }

  report(report: NodeReport): void {
    this.changed = true;
    if (report.type === 'joined') {
      const known = this.nodes.get(report.inventory.node);
      this.nodes.set(report.inventory.node, {
        ...report.inventory,
        alive: true,
        cordoned: known?.cordoned ?? false,
      });
      return;
    }
    const node = this.nodes.get(report.node);
    if (!node) return;
    switch (report.type) {
      case 'lost':
        this.nodes.set(node.node, { ...node, alive: false });
        this.revokeAll(node.node, 'NodeLost', `Node ${node.node} no longer answers.`);
        break;
      case 'cordoned':
      case 'uncordoned':
        this.nodes.set(node.node, { ...node, cordoned: report.type === 'cordoned' });
        break;
      case 'drained':
        this.nodes.set(node.node, { ...node, cordoned: true });
        this.revokeAll(node.node, 'Preempted', `Node ${node.node} is being drained.`);
        break;
      case 'deleted':
        this.nodes.delete(node.node);
        this.revokeAll(node.node, 'NodeLost', `Node ${node.node} was deleted.`);
        break;
    }
  }

  private revokeAll(node: string, type: Revocation['type'], message: string): void {
    for (const [key, lease] of this.leases) {
      if (lease.ranks.some((rank) => rank.node === node)) this.revoke(key, lease, { type, message, node });
    }
  }

  /** Runs that hold or want capacity. */
  runs(): string[] {
    const runs = [...this.leases.values()].map(({ request }) => request.run);
    return [...new Set([...runs, ...[...this.queue.values()].map(({ run }) => run)])];
  }

  /** Frees what runs still hold that have ended without a word, once their agents had the time to clear up. */
  sweep(endedRuns: readonly string[]): void {
    this.forget(endedRuns.filter((run) => this.suspects.has(run)));
    this.suspects = new Set(endedRuns);
  }

  forget(endedRuns: readonly string[]): void {
    const ended = new Set(endedRuns);
    const leased = [...this.leases.values()].map(({ request }) => request);
    for (const request of [...leased, ...this.queue.values()])
      if (ended.has(request.run)) this.release(request);
  }

  /** One planning pass; answers with what the runs must hear. */
  plan(now: number): LeaseNotice[] {
    this.changed = false;
    const decisions = plan(this.snapshot(), now, this.history);
    for (const decision of decisions) {
      if (decision.type === 'ADMIT') this.admit(decision.request, decision.ranks, now);
      if (decision.type === 'PREEMPT') {
        const lease = this.leases.get(resumptionKey(decision));
        if (lease) {
          const message = `Gave way to ${decision.inFavourOf}, which has a higher priority.`;
          this.revoke(
            resumptionKey(decision),
            { ...lease, revokedFor: decision.inFavourOf },
            { type: 'Preempted', message },
          );
        }
      }
    }
    this.waiting = decisions.filter((decision) => decision.type === 'WAIT');
    return this.outbox.splice(0);
  }

  hasNotices(): boolean {
    return this.outbox.length > 0;
  }

  isIdle(): boolean {
    return this.queue.size === 0 && this.leases.size === 0;
  }

  queuePosition(run: string): QueuePosition | null {
    return this.waiting.find((waiting) => waiting.run === run) ?? null;
  }

  allNodes(): ClusterNode[] {
    return [...this.nodes.values()];
  }

  view({ from, count }: QueuePage = { from: 0, count: Infinity }): ClusterView {
    const snapshot = this.snapshot();
    const queue = snapshot.queue.slice(from, from + count);
    const waiting = this.waiting.slice(from, from + count);
    const queued = snapshot.queue.length;
    return from === 0
      ? { snapshot: { ...snapshot, queue }, waiting, history: this.history, queued }
      : { snapshot: { ...snapshot, nodes: [], leases: [], queue }, waiting, history: emptyHistory(), queued };
  }

  state(): ClusterState {
    return { ...this.snapshot(), nextFence: this.nextFence, fresh: false, history: this.history };
  }

  details(): string {
    const rows = [...this.nodes.values()].map((node) => {
      const held = [...this.leases.values()].flatMap(({ ranks }) =>
        ranks.filter((rank) => rank.node === node.node),
      );
      const used = held.reduce((sum, { gpuIds }) => sum + gpuIds.length, 0);
      const state = node.alive ? (node.cordoned ? 'cordoned' : 'alive') : 'lost';
      return `| ${node.node} | ${state} | ${node.gpuType ?? 'cpu'} | ${used} / ${node.gpus} |`;
    });
    return [
      `### ${this.leases.size} runs hold capacity, ${this.queue.size} wait`,
      ['| node | state | type | GPUs used |', '|---|---|---|---|', ...rows].join('\n'),
    ].join('\n\n');
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
    this.outbox.push({ type: 'granted', grant: this.grant(lease) });
  }

  private grant(lease: Lease): { lease: Lease; masterAddress: string } {
    const first = lease.ranks[0];
    return { lease, masterAddress: (first && this.nodes.get(first.node)?.address) ?? '127.0.0.1' };
  }

  private revoke(key: string, lease: Lease, why: Pick<Revocation, 'type' | 'message' | 'node'>): void {
    this.leases.set(key, lease);
    const { run, resumption } = lease.request;
    this.outbox.push({ type: 'revoked', revocation: { run, resumption, fence: lease.fence, ...why } });
  }
}
