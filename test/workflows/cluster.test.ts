import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { bundleWorkflowCode, DefaultLogger, Worker } from '@temporalio/worker';
import { createClusterActivities } from '../../activities/clusters.ts';
import { createControlActivities } from '../../activities/runs.ts';
import type { ControlActivities } from '../../activities/contract.ts';
import { ClusterDirectory } from '../../client/cluster-directory.ts';
import type { CapacityRequest, Lease } from '../../core/cluster.ts';
import { CLUSTER_QUEUE, clusterWorkflowId, nodeWorkflowId } from '../../core/naming.ts';
import type { Priority } from '../../core/priority.ts';
import { announceNodeSignal, clusterViewQuery, requestCapacitySignal } from '../../workflows/messages.ts';
import type { QueuePage, Release } from '../../workflows/messages.ts';
import { aRequest } from '../support/clusters.ts';
import { heardQuery } from '../support/probe-workflow.ts';
import type { Heard } from '../support/probe-workflow.ts';
import { bundleWorkflows, startTemporal } from '../support/temporal.ts';

const PROBE_QUEUE = 'probes';

let env: TestWorkflowEnvironment;
let workers: Worker[];
let running: Promise<unknown>;
let control: ControlActivities;

beforeAll(async () => {
  env = await startTemporal();
  const options = { connection: env.nativeConnection, namespace: env.namespace ?? 'default' };
  const workflowsPath = new URL('../support/probe-workflow.ts', import.meta.url).pathname;
  const [clusters, probes] = await Promise.all([
    bundleWorkflows('cluster-index.ts'),
    bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('WARN') }),
  ]);
  const activities = createClusterActivities({ temporal: env.client });
  workers = await Promise.all([
    Worker.create({ ...options, taskQueue: CLUSTER_QUEUE, workflowBundle: clusters, activities }),
    Worker.create({ ...options, taskQueue: PROBE_QUEUE, workflowBundle: probes }),
  ]);
  running = Promise.all(workers.map((worker) => worker.run()));
  control = createControlActivities({ temporal: env.client, clusters: new ClusterDirectory(env.client) });
});
afterAll(async () => {
  for (const worker of workers ?? []) worker.shutdown();
  await running;
  await env?.teardown();
});

describe('a cluster', () => {
  it('grants a free node, and names its GPUs', async () => {
    const cluster = await aCluster([8]);
    const run = await cluster.ask({ gpus: 2 });
    const [grant] = await cluster.grantsOf(run);
    expect(grant?.lease.ranks).toEqual([{ node: 'node-0', gpuIds: [0, 1] }]);
    expect(grant?.masterAddress).toBe('10.0.0.1');
  });

  it('gives freed GPUs to the higher priority first', async () => {
    const cluster = await aCluster([8]);
    const holder = await cluster.ask({ gpus: 8 });
    await cluster.grantsOf(holder);
    const low = await cluster.ask({ gpus: 8, priority: 'low' });
    const high = await cluster.ask({ gpus: 8, priority: 'high' });
    await cluster.release(holder);
    expect(await cluster.grantsOf(high)).toHaveLength(1);
    expect((await cluster.heard(low)).grants).toEqual([]);
  });

  it('shows a long queue in pages, and the rest with the first', async () => {
    const cluster = await aCluster([8]);
    await cluster.grantsOf(await cluster.ask({ gpus: 8 }));
    for (const priority of ['low', 'high'] as const) await cluster.ask({ gpus: 8, priority });
    const whole = await cluster.view();
    expect(whole).toMatchObject({ queued: 2, snapshot: { nodes: [{ node: 'node-0' }], leases: [{}] } });
    const second = await cluster.view({ from: 1, count: 1 });
    expect(second).toMatchObject({ queued: 2, snapshot: { nodes: [], leases: [] } });
    expect(second.snapshot.queue).toEqual(whole.snapshot.queue.slice(1));
    expect(second.waiting).toEqual(whole.waiting.slice(1));
    expect(second.waiting).toMatchObject([{ position: 2 }]);
  });

  it('answers a repeated request with the same lease', async () => {
    const cluster = await aCluster([8]);
    const run = await cluster.ask({ gpus: 1 });
    await cluster.grantsOf(run);
    await cluster.askAgain(run, { gpus: 1 });
    const grants = await cluster.grantsOf(run, 2);
    expect(grants[1]?.lease).toMatchObject({ fence: grants[0]?.lease.fence, ranks: grants[0]?.lease.ranks });
  });

  it('revokes the leases of a lost node and uses it again when it is back', async () => {
    const cluster = await aCluster([8]);
    const run = await cluster.ask({ gpus: 8 });
    const [first] = await cluster.grantsOf(run);
    await cluster.report({ type: 'lost', node: 'node-0' });
    await expect.poll(async () => (await cluster.heard(run)).revocations).toHaveLength(1);
    await cluster.release(run);
    const next = await cluster.ask({ gpus: 8 });
    await cluster.report({ type: 'joined', inventory: aNode(0, 8) });
    const [grant] = await cluster.grantsOf(next);
    expect(grant?.lease.fence).toBeGreaterThan(first?.lease.fence ?? Infinity);
  });

  it('leaves the runs of a lost node alone where the node never lets go of them', async () => {
    const cluster = await aCluster([8]);
    await cluster.report({ type: 'joined', inventory: { ...aNode(0, 8), leaseMs: null } });
    const run = await cluster.ask({ gpus: 8 });
    await cluster.grantsOf(run);
    await cluster.report({ type: 'lost', node: 'node-0' });
    await expect.poll(async () => (await cluster.view()).snapshot.nodes).toMatchObject([{ alive: false }]);
    expect((await cluster.heard(run)).revocations).toEqual([]);
  });

  it('cordons a node after three failures in a row, but counts one cause once', async () => {
    const cluster = await aCluster([8]);
    const fail = async (...runs: readonly string[]): Promise<void> => {
      for (const run of runs) await cluster.grantsOf(run);
      for (const run of runs) await cluster.release(run, { node: 'node-0', message: 'Docker is broken.' });
    };
    await fail(
      await cluster.ask({ gpus: 1 }),
      await cluster.ask({ gpus: 1 }),
      await cluster.ask({ gpus: 1 }),
    );
    await fail(await cluster.ask({ gpus: 1 }));
    await expect
      .poll(async () => (await cluster.view()).snapshot.nodes)
      .toMatchObject([{ cordoned: false, incidents: { count: 2 } }]);
    await fail(await cluster.ask({ gpus: 1 }));
    await expect
      .poll(async () => (await cluster.view()).snapshot.nodes)
      .toMatchObject([
        { cordoned: true, cordonReason: expect.stringContaining('Docker is broken.') as string },
      ]);
    await cluster.report({ type: 'uncordoned', node: 'node-0' });
    await cluster.grantsOf(await cluster.ask({ gpus: 1 }));
  });

  it('forgets a run that is gone when its grant cannot be delivered', async () => {
    const cluster = await aCluster([8]);
    await cluster.askFor('nobody', { gpus: 8 });
    const run = await cluster.ask({ gpus: 8 });
    expect(await cluster.grantsOf(run)).toHaveLength(1);
  });

  it('gives nothing new to a cordoned node, and everything back when it is open again', async () => {
    const cluster = await aCluster([8]);
    await cluster.report({ type: 'cordoned', node: 'node-0' });
    const run = await cluster.ask({ gpus: 1 });
    await expect.poll(() => cluster.waiting()).toHaveLength(1);
    await cluster.report({ type: 'uncordoned', node: 'node-0' });
    await cluster.grantsOf(run);
  });

  it('sends the runs of a drained node elsewhere', async () => {
    const cluster = await aCluster([8]);
    const run = await cluster.ask({ gpus: 8 });
    await cluster.grantsOf(run);
    await cluster.report({ type: 'drained', node: 'node-0' });
    await expect
      .poll(async () => (await cluster.heard(run)).revocations)
      .toMatchObject([{ type: 'Preempted' }]);
  });

  it('restores a lease from the run that holds it, when its own memory is gone', async () => {
    const cluster = await aCluster([8]);
    const holder = await cluster.ask({ gpus: 8 });
    const [grant] = await cluster.grantsOf(holder);
    await cluster.terminate();
    await cluster.report({ type: 'joined', inventory: aNode(0, 8) });
    await cluster.askAgain(holder, { gpus: 8 }, grant?.lease);
    const next = await cluster.ask({ gpus: 8 });
    await expect.poll(() => cluster.waiting()).toHaveLength(1);
    await cluster.release(holder);
    const [later] = await cluster.grantsOf(next);
    expect(later?.lease.fence).toBeGreaterThan(grant?.lease.fence ?? Infinity);
  });

  it('hears of what was lost from a node that has been away for longer than one execution', async () => {
    const cluster = await aCluster([8]);
    await cluster.terminate();
    const inventory = { ...aNode(7, 8), leaseMs: 20_000 };
    await env.client.workflow.signalWithStart('node', {
      workflowId: nodeWorkflowId(cluster.name, inventory.node),
      taskQueue: CLUSTER_QUEUE,
      args: [{ cluster: cluster.name, node: inventory.node, inventory, isAnswered: true }],
      signal: announceNodeSignal,
    });
    await expect
      .poll(async () => (await cluster.view()).snapshot.nodes, { timeout: 20_000 })
      .toMatchObject([{ node: inventory.node, alive: false, leaseMs: 20_000 }]);
  });

  it('loses nothing when it continues as new under load', async () => {
    const cluster = await aCluster([4]);
    const runs = await Promise.all(Array.from({ length: 5 }, () => cluster.ask({ gpus: 4 })));
    // Far more events than one history may hold.
    for (let burst = 0; burst < 12; burst++) {
      await Promise.all(Array.from({ length: 100 }, () => cluster.askFor(`${runs[4]}`, { gpus: 4 })));
    }
    const order: string[] = [];
    for (let turn = 0; turn < runs.length; turn++) {
      const holder = await cluster.holder();
      order.push(holder);
      await cluster.release(holder);
    }
    expect(order.toSorted()).toEqual(runs.toSorted());
    expect(await cluster.firstExecutionIsOver()).toBe(true);
  });
});

function aNode(index: number, gpus: number) {
  return {
    node: `node-${index}`,
    gpuType: 'a100',
    gpus,
    cpuSlots: 2,
    address: `10.0.0.${index + 1}`,
  };
}

async function aCluster(gpusByNode: readonly number[]) {
  const name = `c-${randomUUID().slice(0, 8)}`;
  const { 'report-node': reportNode } = createClusterActivities({ temporal: env.client });
  const report = (report: Parameters<typeof reportNode>[0]['report']): Promise<void> =>
    reportNode({ cluster: name, report });
  for (const [index, gpus] of gpusByNode.entries())
    await report({ type: 'joined', inventory: aNode(index, gpus) });
  const handle = env.client.workflow.getHandle(clusterWorkflowId(name));
  const first = (await handle.describe()).runId;

  const requestFor = (run: string, ask: Ask): CapacityRequest =>
    aRequest(run, { name: 'llama', createdAt: Date.now(), ...ask });
  const askFor = (run: string, ask: Ask): Promise<void> =>
    control['wait-for-capacity']({ cluster: name, request: requestFor(run, ask) });
  const heard = (run: string): Promise<Heard> => env.client.workflow.getHandle(run).query(heardQuery);

  return {
    name,
    report,
    askFor,
    heard,
    async ask(ask: Ask): Promise<string> {
      const run = `run-${randomUUID()}`;
      await env.client.workflow.start('probe', { workflowId: run, taskQueue: PROBE_QUEUE });
      await askFor(run, ask);
      return run;
    },
    askAgain: (run: string, ask: Ask, held?: Lease) =>
      handle.signal(requestCapacitySignal, requestFor(run, ask), held),
    terminate: () => handle.terminate('test'),
    view: (page?: QueuePage) => handle.query(clusterViewQuery, page),
    waiting: async () => (await handle.query(clusterViewQuery)).waiting,
    release: (run: string, nodeFailure?: Release['nodeFailure']) =>
      control.complete({
        cluster: name,
        run,
        resumption: 0,
        ranToEnd: nodeFailure === undefined,
        ...(nodeFailure && { nodeFailure }),
      }),
    async grantsOf(run: string, count = 1) {
      await expect.poll(async () => (await heard(run)).grants.length, { timeout: 20_000 }).toBe(count);
      return (await heard(run)).grants;
    },
    async holder(): Promise<string> {
      const leases = async () => (await handle.query(clusterViewQuery)).snapshot.leases;
      await expect.poll(async () => (await leases()).length, { timeout: 20_000 }).toBe(1);
      return (await leases())[0]?.request.run ?? '';
    },
    async firstExecutionIsOver(): Promise<boolean> {
      return (await handle.describe()).runId !== first;
    },
  };
}

interface Ask {
  readonly gpus: number;
  readonly priority?: Priority;
}
