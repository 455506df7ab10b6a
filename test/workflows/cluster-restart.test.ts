import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { WorkflowHandle } from '@temporalio/client';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { Worker } from '@temporalio/worker';
import type { WorkflowBundleWithSourceMap } from '@temporalio/worker';
import { createClusterActivities } from '../../activities/clusters.ts';
import { clusterWorkflowId } from '../../core/naming.ts';
import { clusterNodesQuery, releaseCapacitySignal, requestCapacitySignal } from '../../workflows/messages.ts';
import { aRequest } from '../support/clusters.ts';
import { bundleWorkflows, startTemporal } from '../support/temporal.ts';

/** A restarted worker is not asked too early every time. */
const ROUNDS = 15;
const ENOUGH_EARLY_ROUNDS = 2;

let env: TestWorkflowEnvironment;
let workflowBundle: WorkflowBundleWithSourceMap;
let folder: string;
let worker: ChildProcess;

beforeAll(async () => {
  [env, workflowBundle] = await Promise.all([startTemporal(), bundleWorkflows('cluster-index.ts')]);
  folder = await mkdtemp(path.join(tmpdir(), 'mcli-test-restart-'));
  await writeFile(path.join(folder, 'bundle.js'), workflowBundle.code);
  await startWorker();
});
afterAll(async () => {
  await killWorker();
  await env.teardown();
  await rm(folder, { recursive: true, force: true });
});

it('decides what its replays decide, also when its new worker is asked before it gets its task', async () => {
  const cluster = await aCluster();
  let early = 0;
  for (let round = 0; round < ROUNDS && early < ENOUGH_EARLY_ROUNDS; round += 1) {
    await killWorker();
    // Goes to the dead worker first, and then to the new one: before the task, which has to wait longer.
    const answer = cluster.query(clusterNodesQuery).catch(() => undefined);
    const upAgain = sleep(600).then(startWorker);
    await sleep(700);
    const runs = [await ask(cluster)];
    // Some come before the answer and some after it.
    for (let signal = 0; signal < 8; signal += 1) {
      await sleep(50 + Math.random() * 400);
      const [first] = runs;
      if (signal % 2 === 0) runs.push(await ask(cluster));
      else if (first !== undefined) await release(cluster, runs.shift() ?? first);
    }
    await Promise.all([answer, upAgain]);
    for (const run of runs) await release(cluster, run);
    await sleep(500);
    const history = await cluster.fetchHistory();
    await Worker.runReplayHistory({ workflowBundle }, history, cluster.workflowId);
    early = earlyDecisions(history.events ?? []);
  }
  expect(early).toBeGreaterThan(0);
}, 120_000);

/** With a run that never fits, so that every round has something to plan. */
async function aCluster(): Promise<WorkflowHandle> {
  const { 'report-node': report } = createClusterActivities({ temporal: env.client });
  const inventory = { node: 'n0', gpuType: 'a100', gpus: 4, cpuSlots: 2, address: '127.0.0.1' };
  await report({ cluster: 'c', report: { type: 'joined', inventory } });
  const handle = env.client.workflow.getHandle(clusterWorkflowId('c'));
  await handle.signal(requestCapacitySignal, aRequest('never', { gpus: 8, createdAt: Date.now() }));
  await handle.query(clusterNodesQuery);
  return handle;
}

async function ask(cluster: WorkflowHandle): Promise<string> {
  const run = `run-${Math.random()}`;
  await cluster.signal(requestCapacitySignal, aRequest(run, { createdAt: Date.now() }));
  return run;
}

function release(cluster: WorkflowHandle, run: string): Promise<void> {
  return cluster.signal(releaseCapacitySignal, { run, resumption: 0, ranToEnd: true });
}

type HistoryEvents = NonNullable<Awaited<ReturnType<WorkflowHandle['fetchHistory']>>['events']>;

/** Local activities that were scheduled before the task that recorded them was started. */
function earlyDecisions(events: HistoryEvents): number {
  let taskStartedAt = 0;
  let early = 0;
  for (const { eventTime, workflowTaskStartedEventAttributes, markerRecordedEventAttributes } of events) {
    if (workflowTaskStartedEventAttributes) taskStartedAt = seconds(eventTime);
    const data = markerRecordedEventAttributes?.details?.['data']?.payloads?.[0]?.data;
    if (markerRecordedEventAttributes?.markerName !== 'core_local_activity' || !data) continue;
    const marker = JSON.parse(Buffer.from(data).toString()) as { original_schedule_time: Time };
    if (seconds(marker.original_schedule_time) < taskStartedAt - 0.001) early += 1;
  }
  return early;
}

type Time = { readonly seconds?: unknown; readonly nanos?: number | null };

const seconds = (time: Time | null | undefined): number =>
  Number(time?.seconds ?? 0) + (time?.nanos ?? 0) / 1e9;

async function startWorker(): Promise<void> {
  const program = new URL('../support/cluster-worker.ts', import.meta.url).pathname;
  worker = spawn(process.execPath, [program, env.address, path.join(folder, 'bundle.js')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(worker.stdout!, 'data');
}

async function killWorker(): Promise<void> {
  const gone = once(worker, 'exit');
  worker.kill('SIGKILL');
  await gone;
}
