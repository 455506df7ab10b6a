/**
 * Replays a log through the product's planner in virtual time. The planner sees what it would see at work: a snapshot,
 * the time, and what it has learned from runs that ended. Jobs run as long as the log says, limits or not.
 */
import { emptyHistory, learn } from '../../core/estimates.ts';
import type { CapacityRequest, ClusterNode, Lease } from '../../core/cluster.ts';
import type { Policy } from '../../core/policy.ts';
import { plan } from '../../core/scheduler.ts';
import type { Trace, TraceJob } from './traces.ts';

export interface ReplayOptions {
  readonly policy: Policy;
  readonly nodes: number;
  readonly gpusPerNode: number;
  /** `user`: as logged. `none`: the planner learns. `true`: it knows, an upper bound for any estimate. */
  readonly limits: 'user' | 'none' | 'true';
}

export interface ReplayResult {
  readonly policy: string;
  readonly limits: ReplayOptions['limits'];
  readonly jobs: number;
  /** Jobs larger than the cluster. */
  readonly refused: number;
  /** Average bounded slowdown: max(1, (wait + run) / max(run, 10 s)). */
  readonly aveBsld: number;
  readonly meanWaitSecs: number;
  readonly p50WaitSecs: number;
  readonly p95WaitSecs: number;
  readonly p99WaitSecs: number;
  readonly maxWaitSecs: number;
  /** Busy share of all GPUs from the first submission to the last end. */
  readonly utilisation: number;
  readonly decisionsPerSec: number;
  readonly planMs: { readonly p50: number; readonly p99: number; readonly max: number };
  /** Of runs that had to wait: how good the first start they were told was. */
  readonly forecasts: {
    readonly told: number;
    readonly insideBand: number;
    readonly medianErrorSecs: number;
    /** Median width of the band over the median wait of those runs: a band of all time would always be right. */
    readonly medianBandSecs: number;
  };
}

export function replay(trace: Trace, options: ReplayOptions): ReplayResult {
  const { nodes, gpusPerNode } = options;
  const jobs = trace.jobs.filter(({ units }) => units <= nodes * gpusPerNode);
  const state = new Replay(jobs, options);
  state.run();
  return { ...state.result(), refused: trace.jobs.length - jobs.length };
}

interface Live {
  readonly job: TraceJob;
  readonly request: CapacityRequest;
  lease: Lease | undefined;
  told: { readonly from: number; readonly to: number } | undefined;
  startedAt: number;
}

class Replay {
  readonly #jobs: readonly TraceJob[];
  readonly #options: ReplayOptions;
  readonly #nodes: readonly ClusterNode[];
  readonly #history = emptyHistory();
  readonly #all: Live[] = [];
  readonly #queue = new Map<string, Live>();
  readonly #running = new Map<string, Live>();
  readonly #planMs: number[] = [];
  #decisions = 0;
  #fence = 0;
  #next = 0;

  constructor(jobs: readonly TraceJob[], options: ReplayOptions) {
    this.#jobs = jobs;
    this.#options = options;
    this.#nodes = Array.from({ length: options.nodes }, (_, i) => ({
      node: `n${String(i).padStart(5, '0')}`,
      gpuType: 'gpu',
      gpus: options.gpusPerNode,
      cpuSlots: 0,
      address: 'none',
      alive: true,
      cordoned: false,
    }));
  }

  run(): void {
    while (this.#next < this.#jobs.length || this.#running.size > 0) {
      const now = Math.min(this.#nextSubmission(), this.#nextEnd());
      if (now === Infinity) throw new Error(`${this.#queue.size} jobs wait while nothing runs`);
      this.#endRuns(now);
      this.#submit(now);
      if (this.#queue.size > 0) this.#plan(now);
    }
  }

  #nextSubmission(): number {
    const job = this.#jobs[this.#next];
    return job === undefined ? Infinity : job.submit * 1000;
  }

  #nextEnd(): number {
    let next = Infinity;
    for (const live of this.#running.values()) next = Math.min(next, endOf(live));
    return next;
  }

  #endRuns(now: number): void {
    for (const [run, live] of this.#running) {
      if (endOf(live) > now) continue;
      this.#running.delete(run);
      learn(this.#history, live.request, live.job.ran * 1000);
    }
  }

  #submit(now: number): void {
    for (let job = this.#jobs[this.#next]; job !== undefined && job.submit * 1000 <= now;) {
      const live: Live = {
        job,
        request: this.#requestOf(job),
        lease: undefined,
        told: undefined,
        startedAt: NaN,
      };
      this.#all.push(live);
      this.#queue.set(live.request.run, live);
      this.#next += 1;
      job = this.#jobs[this.#next];
    }
  }

  #requestOf(job: TraceJob): CapacityRequest {
    const { gpusPerNode, limits } = this.#options;
    const nodes = Math.ceil(job.units / gpusPerNode);
    const perNode = Math.ceil(job.units / nodes);
    const limit = { user: job.limit, none: undefined, true: Math.max(1, job.ran) }[limits];
    return {
      run: `r${String(this.#next).padStart(7, '0')}`,
      resumption: 0,
      user: job.user,
      name: job.name,
      priority: 'medium',
      preemptible: false,
      gpuType: 'gpu',
      gpus: perNode * nodes,
      nodes,
      gpusPerNode: perNode,
      nodeNames: [],
      createdAt: job.submit * 1000,
      ...(limit !== undefined && { maxDurationMs: limit * 1000 }),
    };
  }

  #plan(now: number): void {
    const leases: Lease[] = [];
    for (const { lease } of this.#running.values()) if (lease !== undefined) leases.push(lease);
    const queue = Array.from(this.#queue.values(), ({ request }) => request);
    const snapshot = { cluster: 'trace', nodes: this.#nodes, queue, leases };
    const began = performance.now();
    const decisions = plan(snapshot, now, this.#history, this.#options.policy);
    this.#planMs.push(performance.now() - began);
    this.#decisions += decisions.length;
    for (const decision of decisions) {
      if (decision.type === 'ADMIT') {
        const { request, ranks } = decision;
        const live = this.#queue.get(request.run);
        if (live === undefined) throw new Error(`${request.run} was admitted without waiting`);
        this.#queue.delete(request.run);
        this.#running.set(request.run, live);
        live.startedAt = now;
        live.lease = { request, ranks, fence: ++this.#fence, grantedAt: now };
      } else if (decision.type === 'WAIT') {
        const live = this.#queue.get(decision.run);
        if (live !== undefined) live.told ??= decision.expectedStart;
      }
    }
  }

  result(): Omit<ReplayResult, 'refused'> {
    const waits = this.#all.map((live) => (live.startedAt - live.request.createdAt) / 1000);
    const sorted = waits.toSorted((a, b) => a - b);
    const slowdowns = this.#all.map(({ job }, i) =>
      Math.max(1, ((waits[i] ?? 0) + job.ran) / Math.max(job.ran, 10)),
    );
    const work = sum(this.#all.map(({ job, request }) => job.ran * request.gpus));
    const first = this.#all[0]?.job.submit ?? 0;
    const last = Math.max(...this.#all.map((live) => endOf(live) / 1000));
    const planMs = this.#planMs.toSorted((a, b) => a - b);
    const { policy, limits, nodes, gpusPerNode } = this.#options;
    return {
      policy: policy.name,
      limits,
      jobs: this.#all.length,
      aveBsld: sum(slowdowns) / slowdowns.length,
      meanWaitSecs: sum(waits) / waits.length,
      p50WaitSecs: quantile(sorted, 0.5),
      p95WaitSecs: quantile(sorted, 0.95),
      p99WaitSecs: quantile(sorted, 0.99),
      maxWaitSecs: sorted.at(-1) ?? 0,
      utilisation: work / ((last - first) * nodes * gpusPerNode),
      decisionsPerSec: this.#decisions / (sum(planMs) / 1000),
      planMs: { p50: quantile(planMs, 0.5), p99: quantile(planMs, 0.99), max: planMs.at(-1) ?? 0 },
      forecasts: this.#forecasts(),
    };
  }

  #forecasts(): ReplayResult['forecasts'] {
    const told = this.#all.flatMap(({ told, startedAt }) =>
      told === undefined ? [] : [{ ...told, startedAt }],
    );
    const inside = told.filter(({ from, to, startedAt }) => from <= startedAt && startedAt <= to).length;
    const errors = told.map(({ from, to, startedAt }) => Math.abs((from + to) / 2 - startedAt) / 1000);
    const widths = told.map(({ from, to }) => (to - from) / 1000);
    return {
      told: told.length,
      insideBand: told.length === 0 ? 1 : inside / told.length,
      medianErrorSecs: quantile(
        errors.toSorted((a, b) => a - b),
        0.5,
      ),
      medianBandSecs: quantile(
        widths.toSorted((a, b) => a - b),
        0.5,
      ),
    };
  }
}

function endOf({ startedAt, job }: Live): number {
  return startedAt + job.ran * 1000;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** The smallest value that a share `q` of the sorted values does not exceed. */
function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
}
