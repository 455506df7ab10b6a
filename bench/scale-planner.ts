/**
 * The planner under load: one full cluster with 10,000 runs waiting, and 15,000 runs through 30 queues in virtual time.
 * Everything random comes from a fixed seed.
 */
import { emptyHistory, learn } from '../core/estimates.ts';
import type { CapacityRequest, ClusterNode, ClusterSnapshot, Lease } from '../core/cluster.ts';
import { DUE_DATE } from '../core/policy.ts';
import { PRIORITIES } from '../core/priority.ts';
import { decide, plan } from '../core/scheduler.ts';
import { replay } from './schedule/replay.ts';
import type { TraceJob } from './schedule/traces.ts';

const HOUR_MS = 3_600_000;
const NOW = 1_000 * HOUR_MS;

interface PlannerScale {
  /** One `decide()`: who starts and who gives way, all that a cluster does for a cycle. */
  readonly decideMs: Spread;
  /** One `plan()` of the same cycle: also what every run that waits is told. Made only when somebody asks. */
  readonly planMs: Spread;
  readonly cycles: number;
  readonly admitted: number;
  /** Seconds of real time for all runs of all queues. */
  readonly queuesSecs: number;
}

interface Spread {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

function measurePlanner(cycles: number): PlannerScale {
  return { ...measureCycles(cycles), queuesSecs: measureQueues() };
}

/** 10,000 queued runs, 1,000 nodes of 8 GPUs; between cycles some leases end and as many runs arrive as started. */
function measureCycles(cycles: number): Omit<PlannerScale, 'queuesSecs'> {
  const random = randomFrom(1);
  const history = emptyHistory();
  const nodes = Array.from({ length: 1_000 }, (_, i) => nodeOf(i));
  let made = 0;
  const next = (now: number): CapacityRequest => requestOf(made++, now, random);
  let queue = Array.from({ length: 11_500 }, (_, i) => next(NOW - (11_500 - i) * 10_000));
  let leases: Lease[] = [];
  let now = NOW;
  let admitted = 0;
  const decideMs: number[] = [];
  const planMs: number[] = [];
  // The first cycles fill the cluster and warm the code up; they are not counted.
  for (let cycle = -FILLING; cycle < cycles; cycle++) {
    while (queue.length < 10_000) queue.push(next(now));
    const snapshot: ClusterSnapshot = { cluster: 'scale', nodes, queue, leases };
    const began = performance.now();
    const { admissions } = decide(snapshot, now, history);
    const decided = performance.now();
    plan(snapshot, now, history);
    if (cycle >= 0) {
      decideMs.push(decided - began);
      planMs.push(performance.now() - decided);
    }
    const started = new Set<CapacityRequest>();
    for (const { request, ranks } of admissions) {
      started.add(request);
      leases.push({ request, ranks, fence: ++admitted, grantedAt: now });
    }
    queue = queue.filter((request) => !started.has(request));
    for (const ended of leases.splice(0, 5)) learn(history, ended.request, now - ended.grantedAt);
    leases = leases.filter(() => random() > 0.002);
    now += 60_000;
  }
  return { decideMs: spreadOf(decideMs), planMs: spreadOf(planMs), cycles, admitted };
}

function spreadOf(times: readonly number[]): Spread {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (q: number): number => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

const FILLING = 30;

function measureQueues(): number {
  const began = performance.now();
  for (let queue = 0; queue < 30; queue++) {
    const random = randomFrom(queue + 100);
    let submit = 0;
    const jobs: TraceJob[] = Array.from({ length: 500 }, () => {
      submit += -Math.log(1 - random()) * 240;
      const ran = Math.exp(4 + 6 * random());
      return {
        submit,
        ran,
        units: [1, 1, 2, 4, 8, 8, 16][Math.floor(random() * 7)] ?? 1,
        ...(random() < 0.5 && { limit: ran * (1 + 4 * random()) }),
        user: `u${Math.floor(random() * 20)}`,
        name: `n${Math.floor(random() * 5)}`,
      };
    });
    const trace = { name: `queue ${queue}`, jobs, skipped: 0 };
    replay(trace, { policy: DUE_DATE, nodes: 8, gpusPerNode: 8, limits: 'user' });
  }
  return (performance.now() - began) / 1000;
}

function nodeOf(i: number): ClusterNode {
  const node = `n${String(i).padStart(4, '0')}`;
  return { node, gpuType: 'a100', gpus: 8, cpuSlots: 4, address: node, alive: true, cordoned: false };
}

function requestOf(i: number, now: number, random: () => number): CapacityRequest {
  const nodes = random() < 0.1 ? 2 ** Math.ceil(random() * 4) : 1;
  const gpusPerNode = nodes > 1 ? 8 : (([1, 2, 4, 8] as const)[Math.floor(random() * 4)] ?? 1);
  return {
    run: `run-${String(i).padStart(6, '0')}`,
    resumption: 0,
    user: `user${Math.floor(random() * 100)}`,
    name: `name${Math.floor(random() * 5)}`,
    priority: PRIORITIES[Math.floor(random() * PRIORITIES.length)] ?? 'medium',
    preemptible: random() < 0.2,
    gpuType: 'a100',
    gpus: nodes * gpusPerNode,
    nodes,
    gpusPerNode,
    nodeNames: [],
    createdAt: now,
    ...(random() < 0.5 && { maxDurationMs: Math.ceil(random() * 48) * HOUR_MS }),
  };
}

/** Mulberry32: small, and the same everywhere. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const { decideMs, planMs, cycles, admitted, queuesSecs } = measurePlanner(200);
const spread = ({ p50, p99, max }: Spread): string =>
  `p50 ${p50.toFixed(1)} ms   p99 ${p99.toFixed(1)} ms   max ${max.toFixed(1)} ms`;
console.log(`10,000 queued runs, 1,000 nodes x 8 GPUs (${cycles} cycles, ${admitted} runs started)`);
console.log(`  decide(), every cycle             ${spread(decideMs)}   (aim: p99 <= 20 ms)`);
console.log(`  plan(), when somebody asks why    ${spread(planMs)}`);
console.log(`15,000 runs through 30 queues in virtual time: ${queuesSecs.toFixed(2)} s   (aim: <= 5 s)`);
