/**
 * The durable path at scale: 10,000 runs in the queue of one cluster workflow on the local stack, and how fast it hands
 * out capacity, as a share of what the same server does with empty workflows of one activity.
 */
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { bundleWorkflowCode, DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { createClusterActivities } from '../activities/clusters.ts';
import type { CapacityRequest } from '../core/cluster.ts';
import { emptyCluster, packCluster } from '../core/cluster-state.ts';
import { emptyHistory } from '../core/estimates.ts';
import { CLUSTER_QUEUE, clusterWorkflowId, NAMESPACE, WORKFLOW_TYPES } from '../core/naming.ts';
import { ensureStack } from '../stack/local-stack.ts';
import { clusterViewQuery, requestCapacitySignal } from '../workflows/messages.ts';

const QUEUED_RUNS = Number(process.env['MCLI_BENCH_RUNS'] ?? 10_000);
/** Runs that really receive their lease; the others behind them only wait. */
const GRANTED_RUNS = Math.min(1_000, QUEUED_RUNS);
const GPUS = 64;
const CLUSTER = 'bench';
const PROBE_QUEUE = 'bench-probes';
const CONCURRENCY = 50;
const STARTED_AT = Date.now();

Runtime.install({ logger: new DefaultLogger('ERROR') });
const home = await mkdtemp(path.join(tmpdir(), 'mcli-bench-'));
const env = { ...process.env, MCLI_HOME: home };
const mcli = path.resolve(import.meta.dirname, '../bin/mcli');
try {
  const { temporalAddress: address } = await ensureStack({ env, say: console.error });
  await measure(address);
} finally {
  execFileSync(mcli, ['down'], { env, stdio: 'ignore' });
  await rm(home, { recursive: true, force: true });
}

async function measure(address: string): Promise<void> {
  const client = new Client({ connection: await Connection.connect({ address }), namespace: NAMESPACE });
  const worker = await Worker.create({
    connection: await NativeConnection.connect({ address }),
    namespace: NAMESPACE,
    taskQueue: PROBE_QUEUE,
    workflowBundle: await bundleWorkflowCode({
      workflowsPath: path.join(import.meta.dirname, 'probe-workflow.ts'),
      logger: new DefaultLogger('WARN'),
    }),
    activities: { nothing: () => Promise.resolve() },
    maxCachedWorkflows: 2 * GRANTED_RUNS,
  });
  await worker.runUntil(async () => {
    const baseline = await oneActivityPerSecond(client);
    const queueing = await queueRuns(client);
    const granting = await grantRuns(client);
    console.log(
      [
        `empty workflows with one activity      ${baseline.toFixed(0)} /s`,
        `requests accepted                      ${QUEUED_RUNS} of ${QUEUED_RUNS}, ${queueing.perSecond.toFixed(0)} /s`,
        `waiting in one cluster workflow        ${queueing.waiting}`,
        `history events per queued run          ${queueing.eventsPerRun.toFixed(2)}`,
        `state at continue-as-new               ${(queueing.stateBytes / 1_000).toFixed(0)} kB`,
        `memory of the cluster worker           ${queueing.workerMb.toFixed(0)} MB`,
        `grants, given back at once             ${granting.perSecond.toFixed(0)} /s, ${(granting.perSecond / baseline).toFixed(2)} of the empty workflows`,
        `history events per granted run         ${granting.eventsPerRun.toFixed(2)} (with its release)`,
      ].join('\n'),
    );
  });
}

async function oneActivityPerSecond(client: Client): Promise<number> {
  const count = 500;
  const seconds = await timed(() =>
    inParallel(count, async (index) => {
      const options = { taskQueue: PROBE_QUEUE, workflowId: `empty-${index}` };
      await client.workflow.execute('oneActivity', options);
    }),
  );
  return count / seconds;
}

async function queueRuns(client: Client) {
  const handle = client.workflow.getHandle(clusterWorkflowId(CLUSTER));
  await client.workflow.start(WORKFLOW_TYPES.cluster, {
    workflowId: clusterWorkflowId(CLUSTER),
    taskQueue: CLUSTER_QUEUE,
    args: [emptyCluster(CLUSTER, Date.now())],
  });
  await inParallel(GRANTED_RUNS, async (index) => {
    const options = { taskQueue: PROBE_QUEUE, workflowId: runName(index), args: [CLUSTER] };
    await client.workflow.start('probe', options);
  });
  const seconds = await timed(() =>
    inParallel(QUEUED_RUNS, async (index) => handle.signal(requestCapacitySignal, aRequest(index))),
  );
  const queued = async (): Promise<number> =>
    (await handle.query(clusterViewQuery, { from: 0, count: 1 })).queued;
  let waiting = await queued();
  while (waiting < QUEUED_RUNS) {
    await setTimeout(1_000);
    waiting = await queued();
  }
  const queue = Array.from({ length: QUEUED_RUNS }, (_, index) => aRequest(index));
  const state = { cluster: CLUSTER, nodes: [], queue, leases: [], nextFence: 0, fresh: false };
  return {
    waiting,
    perSecond: QUEUED_RUNS / seconds,
    eventsPerRun: (await eventsOf(client)) / QUEUED_RUNS,
    stateBytes: JSON.stringify(packCluster({ ...state, history: emptyHistory() })).length,
    workerMb: await clusterWorkerMb(),
  };
}

async function grantRuns(client: Client) {
  const before = await eventsOf(client);
  const { 'report-node': reportNode } = createClusterActivities({ temporal: client });
  const seconds = await timed(async () => {
    const inventory = { node: 'n', gpuType: 'a100_80gb', gpus: GPUS, cpuSlots: 0, address: '127.0.0.1' };
    await reportNode({ cluster: CLUSTER, report: { type: 'joined', inventory } });
    await inParallel(GRANTED_RUNS, async (index) => client.workflow.getHandle(runName(index)).result());
  });
  return {
    perSecond: GRANTED_RUNS / seconds,
    eventsPerRun: ((await eventsOf(client)) - before) / GRANTED_RUNS,
  };
}

function runName(index: number): string {
  return `llama-${String(index).padStart(6, '0')}`;
}

function aRequest(index: number): CapacityRequest {
  return {
    run: runName(index),
    resumption: 0,
    user: `user${index % 20}`,
    name: 'llama',
    priority: 'medium',
    preemptible: false,
    gpuType: 'a100_80gb',
    gpus: 1,
    nodes: 1,
    gpusPerNode: 1,
    nodeNames: [],
    createdAt: STARTED_AT + index,
    maxDurationMs: 3_600_000,
  };
}

/** Over the whole chain of continued executions. */
async function eventsOf(client: Client): Promise<number> {
  let events = 0;
  for await (const { runId } of client.workflow.list({
    query: `WorkflowId = '${clusterWorkflowId(CLUSTER)}'`,
  })) {
    const { historyLength } = await client.workflow.getHandle(clusterWorkflowId(CLUSTER), runId).describe();
    events += historyLength;
  }
  return events;
}

async function clusterWorkerMb(): Promise<number> {
  const status = execFileSync(mcli, ['status', '-o', 'json'], { env, encoding: 'utf8' });
  const { parts } = JSON.parse(status) as { parts: { name: string; pid: number }[] };
  const pid = parts.find(({ name }) => name === 'cluster-worker')?.pid;
  const kb = /VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kb) / 1_024;
}

async function timed(work: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1_000;
}

async function inParallel(count: number, work: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, lane));
}
