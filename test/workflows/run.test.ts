import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ApplicationFailure, CancelledFailure, defineSearchAttributeKey } from '@temporalio/common';
import { Context } from '@temporalio/activity';
import type { Client } from '@temporalio/client';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { Worker } from '@temporalio/worker';
import type { WorkflowBundleWithSourceMap } from '@temporalio/worker';
import type { ControlActivities, NodeActivities, RankExecution } from '../../activities/contract.ts';
import { RunHistory } from '../../client/run-history.ts';
import type { RunDetails } from '../../client/run-history.ts';
import type { CapacityRequest, Lease } from '../../core/cluster.ts';
import type { FailureType } from '../../core/failures.ts';
import { CONTROL_QUEUE, nodeQueue, trackingWorkflowId } from '../../core/naming.ts';
import type { RunInput } from '../../core/run.ts';
import type { Construction, Integration, RunSpec } from '../../core/run-spec.ts';
import type { OpenedTrackers, RunEnd } from '../../core/tracking.ts';
import {
  clusterRestartedSignal,
  leaseGrantedSignal,
  leaseRevokedSignal,
  schedulingUpdate,
  stopSignal,
} from '../../workflows/messages.ts';
import type { Release, Revocation } from '../../workflows/messages.ts';
import type { TrackingInput } from '../../workflows/tracking.ts';
import { bundleWorkflows, startTemporal } from '../support/temporal.ts';

let env: TestWorkflowEnvironment;
let workflowBundle: WorkflowBundleWithSourceMap;

beforeAll(async () => {
  [env, workflowBundle] = await Promise.all([startTemporal(), bundleWorkflows('index.ts')]);
});
afterAll(() => env?.teardown());

const NODES = ['node-0', 'node-1'];

describe('a run', () => {
  it('goes through every phase and completes', async () => {
    const world = new World();
    const run = await world.finish({ nodes: 1 });
    expect(run.lifecycle.map(({ status }) => status)).toEqual([
      'PENDING',
      'QUEUED',
      'STARTING',
      'RUNNING',
      'TERMINATING',
      'COMPLETED',
    ]);
    expect(world.calls).toEqual([
      'construct',
      'wait-for-capacity 0',
      'pull-image 0/0',
      'integrations 0/0',
      'execute 0/0',
      'remove-container 0/0',
      'complete 0',
    ]);
  });

  it('answers a rejected construction and leaves no status behind', async () => {
    const world = new World();
    world.construction = { accepted: false, problems: [{ message: 'no such cluster' }] };
    const run = await world.finish({ nodes: 1 });
    expect(run.rejected).toBe(true);
    expect(run.lifecycle).toEqual([]);
    expect(world.calls).toEqual(['construct']);
  });

  it('is refused, and not left waiting, when no cluster can be asked', async () => {
    const world = new World();
    world.clustersAreSilent = true;
    const run = await world.finish({ nodes: 1 });
    expect(run.rejected).toBe(true);
  });

  it('fails with the exit code of its command', async () => {
    const world = new World();
    world.exits = () => 3;
    const run = await world.finish({ nodes: 1 });
    expect(run).toMatchObject({ status: 'FAILED', reason: 'NonZeroExit', exitCode: 3, resumption: 0 });
  });

  it('names a failed pull and never starts a container', async () => {
    const world = new World();
    world.pullFailure = 'ImageNotFound';
    const run = await world.finish({ nodes: 1 });
    expect(run).toMatchObject({ status: 'FAILED', reason: 'FailedPull' });
    expect(run.lifecycle.map(({ status }) => status)).not.toContain('RUNNING');
    expect(world.calls).not.toContain('execute 0/0');
    expect(world.calls.at(-1)).toBe('complete 0');
  });

  it('stops while it waits in the queue, without ever starting', async () => {
    const world = new World();
    world.grants = false;
    const run = await world.finish({ nodes: 1 }, async (id, client) => {
      await world.until('wait-for-capacity 0');
      await client.workflow.getHandle(id).signal(stopSignal, { by: 'ann', reason: 'typo' });
    });
    expect(run).toMatchObject({
      status: 'STOPPED',
      reason: 'StoppedByUser',
      message: 'Stopped by ann: typo.',
    });
    expect(run.lifecycle.map(({ status }) => status)).toEqual(['PENDING', 'QUEUED', 'STOPPED']);
    expect(world.calls.at(-1)).toBe('complete 0');
  });

  it('stops a running command, and gives its capacity back after the container is gone', async () => {
    const world = new World();
    world.runsForever = true;
    const run = await world.finish({ nodes: 1 }, async (id, client) => {
      await world.until('execute 0/0');
      await client.workflow.getHandle(id).signal(stopSignal, { by: 'ann' });
    });
    expect(run).toMatchObject({
      status: 'STOPPED',
      reason: 'StoppedByUser',
      message: 'Stopped by ann. It ended by itself on SIGTERM after 0.1 s.',
    });
    // The order to stop and the cancelled command may come to the node in either order.
    expect(world.calls.slice(-2)).toEqual(['remove-container 0/0', 'complete 0']);
    expect(world.calls).toContain('stopped 0/0');
    expect(run.lifecycle.map(({ status }) => status).slice(-2)).toEqual(['TERMINATING', 'STOPPED']);
  });

  it('treats a cancelled workflow as a stop', async () => {
    const world = new World();
    world.runsForever = true;
    const run = await world.finish({ nodes: 1 }, async (id, client) => {
      await world.until('execute 0/0');
      await client.workflow.getHandle(id).cancel();
    });
    expect(run).toMatchObject({
      status: 'STOPPED',
      message: expect.stringContaining('Stopped by Temporal. It ended by itself'),
    });
  });

  it('answers its cluster and orders its nodes also after it was cancelled', async () => {
    const world = new World();
    world.runsForever = true;
    const removal = Promise.withResolvers<void>();
    world.removal = removal.promise;
    const run = await world.finish({ nodes: 1 }, async (id, client) => {
      const handle = client.workflow.getHandle(id);
      await world.until('execute 0/0');
      await handle.cancel();
      await world.until('stop-container 0/0');
      await handle.signal(clusterRestartedSignal, 2);
      await expect.poll(() => world.held.length).toBe(2);
      const change = { maxRetries: 1 };
      expect(await handle.executeUpdate(schedulingUpdate, { args: [change] })).toMatchObject(change);
      removal.resolve();
    });
    expect(world.held).toMatchObject([undefined, { fence: 1 }, { fence: 1 }]);
    expect(run.status).toBe('STOPPED');
  });

  it('does not start on a lease of an earlier life of its cluster that comes late', async () => {
    const world = new World();
    world.grants = false;
    await world.finish({ nodes: 1 }, async (id, client) => {
      await world.until('wait-for-capacity 0');
      const handle = client.workflow.getHandle(id);
      await handle.signal(clusterRestartedSignal, 100);
      await expect.poll(() => world.requests.length).toBe(2);
      const [request] = world.requests as [CapacityRequest];
      for (const fence of [99, 100]) {
        const grant = { lease: { ...aLease(request, 1), fence }, masterAddress: '127.0.0.1' };
        await handle.signal(leaseGrantedSignal, grant);
      }
    });
    expect(world.executed.map(({ fence }) => fence)).toEqual([100]);
  });

  it('goes to its next resumption when its node is lost', async () => {
    const world = new World();
    world.runsForever = true;
    const run = await world.finish({ nodes: 1 }, async (id, client) => {
      await world.until('execute 0/0');
      world.runsForever = false;
      await client.workflow.getHandle(id).signal(leaseRevokedSignal, aLoss(id, {}));
    });
    expect(run).toMatchObject({ status: 'COMPLETED', resumption: 1 });
    expect(run.lifecycle.filter(({ status }) => status === 'QUEUED').map(({ reason }) => reason)).toEqual([
      '',
      'NodeLost',
    ]);
  });

  it('is queued at once when its node is lost, and goes on when the lease of that node is over', async () => {
    const world = new World();
    world.runsForever = true;
    world.silentRemovals = true;
    let lostAt = 0;
    const run = await world.finish({ nodes: 1 }, async (id, client) => {
      await world.until('execute 0/0');
      world.runsForever = false;
      lostAt = Date.now();
      const revocation = aLoss(id, { leaseMs: 2_000 });
      await client.workflow.getHandle(id).signal(leaseRevokedSignal, revocation);
      await expect.poll(() => statusOf(client, id)).toBe('QUEUED');
      expect(world.calls).not.toContain('complete 0');
      await world.until('complete 0');
      expect(Date.now() - lostAt).toBeGreaterThanOrEqual(2_000);
      world.silentRemovals = false;
    });
    expect(run).toMatchObject({ status: 'COMPLETED', resumption: 1 });
  });

  it('goes on at once when the lost node comes back and has removed its container', async () => {
    const world = new World();
    world.runsForever = true;
    const run = await world.finish({ nodes: 1 }, async (id, client) => {
      await world.until('execute 0/0');
      world.runsForever = false;
      await client.workflow.getHandle(id).signal(leaseRevokedSignal, aLoss(id, { leaseMs: 600_000 }));
    });
    expect(run).toMatchObject({ status: 'COMPLETED', resumption: 1 });
    expect(world.calls.indexOf('remove-container 0/0')).toBeLessThan(world.calls.indexOf('complete 0'));
  });

  it('goes on at once when an operator deletes the lost node', async () => {
    const world = new World();
    world.runsForever = true;
    world.silentRemovals = true;
    const run = await world.finish({ nodes: 1 }, async (id, client) => {
      await world.until('execute 0/0');
      world.runsForever = false;
      const handle = client.workflow.getHandle(id);
      await handle.signal(leaseRevokedSignal, aLoss(id, { leaseMs: 600_000 }));
      await expect.poll(() => statusOf(client, id)).toBe('QUEUED');
      await handle.signal(leaseRevokedSignal, aLoss(id, {}));
      await world.until('complete 0');
      world.silentRemovals = false;
    });
    expect(run).toMatchObject({ status: 'COMPLETED', resumption: 1 });
  });

  it('stops for good while it waits for a lost node to let go', async () => {
    const world = new World();
    world.runsForever = true;
    world.silentRemovals = true;
    const run = await world.finish({ nodes: 1 }, async (id, client) => {
      await world.until('execute 0/0');
      const handle = client.workflow.getHandle(id);
      await handle.signal(leaseRevokedSignal, aLoss(id, { leaseMs: 2_000 }));
      await expect.poll(() => statusOf(client, id)).toBe('QUEUED');
      await handle.signal(stopSignal, { by: 'ann' });
    });
    expect(run).toMatchObject({ status: 'STOPPED', reason: 'StoppedByUser' });
  });

  it('tells its cluster which node failed it', async () => {
    const world = new World();
    world.pullFailure = 'PullDiskFull';
    await world.finish({ nodes: 1, retryOnSystemFailure: false });
    expect(world.releases).toMatchObject([{ nodeFailure: { node: 'node-0', message: 'no such image' } }]);
  });

  it('keeps a lost node lost only when the file says so', async () => {
    const world = new World();
    world.runsForever = true;
    const run = await world.finish({ nodes: 1, retryOnSystemFailure: false }, async (id, client) => {
      await world.until('execute 0/0');
      await client.workflow.getHandle(id).signal(leaseRevokedSignal, aLoss(id, {}));
    });
    expect(run).toMatchObject({ status: 'FAILED', reason: 'NodeLost', resumption: 0 });
  });

  it('retries its own failures max_retries times', async () => {
    const world = new World();
    world.exits = ({ resumption }) => (resumption < 2 ? 1 : 0);
    const run = await world.finish({ nodes: 1, maxRetries: 2 });
    expect(run).toMatchObject({ status: 'COMPLETED', resumption: 2 });
  });

  it('ends the other ranks when one fails, and takes that failure as its own', async () => {
    const world = new World();
    world.runsForever = true;
    world.exits = ({ rank }) => (rank === 1 ? 7 : undefined);
    const run = await world.finish({ nodes: 2 });
    expect(run).toMatchObject({ status: 'FAILED', reason: 'NonZeroExit', exitCode: 7 });
    expect(world.calls).toContain('stopped 0/0');
    expect(world.calls).toContain('remove-container 0/1');
  });

  it('blames a lost node, and not the rank that failed because it lost its peer there', async () => {
    const world = new World();
    world.exits = ({ resumption, rank }) => (resumption === 0 && rank === 0 ? 1 : undefined);
    const revival = Promise.withResolvers<void>();
    world.dead = { rank: 1, until: revival.promise };
    const run = await world.finish({ nodes: 2 }, async (id, client) => {
      // The heartbeat of the dead rank has run out, and its node is asked.
      await world.until('stop-container 0/1');
      const loss = { ...aLoss(id, {}), node: 'node-1' };
      await client.workflow.getHandle(id).signal(leaseRevokedSignal, loss);
      revival.resolve();
    });
    expect(run).toMatchObject({ status: 'COMPLETED', resumption: 1 });
    const queued = run.lifecycle.filter(({ status }) => status === 'QUEUED');
    expect(queued.map(({ reason }) => reason)).toEqual(['', 'NodeLost']);
  });

  it('blames the rank that failed when the node of the other still answers', async () => {
    const world = new World();
    world.runsForever = true;
    world.exits = ({ rank }) => (rank === 0 ? 1 : undefined);
    const run = await world.finish({ nodes: 2 });
    expect(world.calls).toContain('stop-container 0/1');
    expect(run).toMatchObject({ status: 'FAILED', reason: 'NonZeroExit', resumption: 0 });
  });

  it('waits longer before each further retry of its own failures, and not after giving way', async () => {
    const world = new World();
    world.exits = ({ resumption }) => (resumption < 2 ? 1 : undefined);
    const started: number[] = [];
    world.onRequest = () => void started.push(Date.now());
    await world.finish({ nodes: 1, maxRetries: 2 });
    const [first = 0, second = 0, third = 0] = started;
    expect(second - first).toBeLessThan(4_000);
    expect(third - second).toBeGreaterThanOrEqual(5_000);
  });

  it('removes a container from a node that comes back before its lease is over, whatever the grace', async () => {
    const world = new World();
    world.runsForever = true;
    const run = await world.finish({ nodes: 1, graceMs: 600_000 }, async (id, client) => {
      await world.until('execute 0/0');
      world.runsForever = false;
      await client.workflow.getHandle(id).signal(leaseRevokedSignal, aLoss(id, { leaseMs: 60_000 }));
    });
    expect(run).toMatchObject({ status: 'COMPLETED', resumption: 1 });
    expect(world.removalGraces[0]).toBeLessThanOrEqual(30_000);
  });

  it('shortens the grace of a container that is already being removed when its node is lost', async () => {
    const world = new World();
    world.runsForever = true;
    const { promise, resolve } = Promise.withResolvers<void>();
    world.removal = promise;
    await world.finish({ nodes: 1, graceMs: 600_000 }, async (id, client) => {
      await world.until('execute 0/0');
      const handle = client.workflow.getHandle(id);
      await handle.signal(stopSignal, { by: 'ann' });
      await expect.poll(() => world.removalGraces).toEqual([600_000]);
      await handle.signal(leaseRevokedSignal, aLoss(id, { leaseMs: 60_000 }));
      await expect.poll(() => world.removalGraces.length).toBe(2);
      resolve();
    });
    expect(world.removalGraces[1]).toBeLessThanOrEqual(30_000);
  });

  it('orders a container to stop once, however often its user does', async () => {
    const world = new World();
    world.runsForever = true;
    const { promise, resolve } = Promise.withResolvers<void>();
    world.removal = promise;
    await world.finish({ nodes: 1 }, async (id, client) => {
      await world.until('execute 0/0');
      const handle = client.workflow.getHandle(id);
      for (let order = 0; order < 3; order += 1) await handle.signal(stopSignal, { by: 'ann' });
      await world.until('stop-container 0/0');
      await handle.signal(stopSignal, { by: 'ann' });
      resolve();
    });
    expect(world.calls.filter((call) => call === 'stop-container 0/0')).toHaveLength(1);
  });

  it('refuses a change of its scheduling that is no number', async () => {
    const world = new World();
    world.runsForever = true;
    await world.finish({ nodes: 1 }, async (id, client) => {
      await world.until('execute 0/0');
      const handle = client.workflow.getHandle(id);
      const change = { maxDurationHours: Number.NaN };
      await expect(handle.executeUpdate(schedulingUpdate, { args: [change] })).rejects.toThrow();
      await handle.signal(stopSignal, { by: 'ann' });
    });
  });

  it('takes a new max_duration while it runs', async () => {
    const world = new World();
    world.runsForever = true;
    const run = await world.finish({ nodes: 1 }, async (id, client) => {
      await world.until('execute 0/0');
      const change = { maxDurationHours: 0.2 / 3_600, priority: 'high' } as const;
      const inForce = await client.workflow.getHandle(id).executeUpdate(schedulingUpdate, { args: [change] });
      expect(inForce).toMatchObject(change);
    });
    expect(run).toMatchObject({ status: 'STOPPED', reason: 'MaxDuration' });
  });

  it('tells its cluster of a changed priority while it waits', async () => {
    const world = new World();
    world.grants = false;
    await world.finish({ nodes: 1 }, async (id, client) => {
      await world.until('wait-for-capacity 0');
      world.grants = true;
      const change = { priority: 'high' } as const;
      await client.workflow.getHandle(id).executeUpdate(schedulingUpdate, { args: [change] });
    });
    expect(world.requests.map(({ priority }) => priority)).toEqual(['medium', 'high']);
  });

  it('tells every rank what its trackers answered, and has them told of its end when it is over', async () => {
    const world = new World();
    world.trackerAnswer = async () => OPENED;
    await world.finish({ nodes: 2, integrations: [MLFLOW] }, async (id, client) => {
      await expect(client.workflow.getHandle(id).result()).resolves.toMatchObject({ status: 'COMPLETED' });
      await client.workflow.getHandle(trackingWorkflowId(id)).result();
    });
    expect(world.calls.filter((call) => call.startsWith('open-trackers'))).toEqual(['open-trackers 0/0']);
    expect(world.executed.map(({ tracking }) => tracking)).toEqual([OPENED, OPENED]);
    expect(world.calls.at(-1)).toBe('report-run');
  });

  it('has the container of rank 0 tell once how the run ends, before it is removed', async () => {
    const world = new World();
    world.trackerAnswer = async () => ({ entries: [], environment: {} });
    world.exits = ({ rank }) => (rank === 1 ? 7 : 0);
    await world.finish({ nodes: 2, maxRetries: 1, integrations: [WANDB] });
    expect(world.ends).toMatchObject([{ status: 'FAILED', reason: 'NonZeroExit', exitCode: 7 }]);
    const told = world.calls.indexOf('report-in-container 1/0');
    expect(told).toBeGreaterThan(world.calls.indexOf('execute 1/1'));
    expect(told).toBeLessThan(world.calls.indexOf('remove-container 1/0'));
  });

  it('joins the entry of an earlier resumption when its tracker does not answer', async () => {
    const world = new World();
    world.trackerAnswer = async () => OPENED;
    world.exits = ({ resumption }) => (resumption === 0 ? 1 : 0);
    world.onRequest = ({ resumption }) => {
      if (resumption === 1) world.trackerAnswer = async () => UNOPENED;
    };
    await world.finish({ nodes: 1, maxRetries: 1, integrations: [MLFLOW] });
    expect(world.executed.at(-1)?.tracking).toEqual({
      entries: [{ ...UNOPENED.entries[0], url: 'http://mlflow/#/experiments/1/runs/2' }],
      environment: { MLFLOW_RUN_ID: '2' },
    });
  });

  it('runs on when its trackers cannot be opened, and reports from the next node when the first is gone', async () => {
    const world = new World();
    world.trackerAnswer = () => Promise.reject(ApplicationFailure.nonRetryable('out of order'));
    await world.finish({ nodes: 1, integrations: [MLFLOW] }, async (id, client) => {
      await expect(client.workflow.getHandle(id).result()).resolves.toMatchObject({ status: 'COMPLETED' });
      const input: TrackingInput = { run: id, cluster: id, nodes: ['node-away', 'node-0'], patienceMs: 200 };
      await client.workflow.execute('tracking', {
        workflowId: `again-${id}`,
        taskQueue: CONTROL_QUEUE,
        args: [input],
      });
    });
    expect(world.executed[0]?.tracking?.entries).toMatchObject([{ tracker: 'mlflow', problem: /in time/ }]);
    expect(world.calls.filter((call) => call === 'report-run')).toHaveLength(2);
  });

  it('stops at max_duration with a reason of its own', async () => {
    const world = new World();
    world.runsForever = true;
    const run = await world.finish({ nodes: 1, maxDurationHours: 0.5 / 3_600 });
    expect(run).toMatchObject({ status: 'STOPPED', reason: 'MaxDuration' });
  });
});

interface Shape {
  readonly nodes: number;
  readonly maxRetries?: number;
  readonly retryOnSystemFailure?: boolean;
  readonly maxDurationHours?: number;
  readonly integrations?: readonly Integration[];
  readonly graceMs?: number;
}

const MLFLOW: Integration = { type: 'mlflow', environment: { MLFLOW_EXPERIMENT_NAME: 'llama' } };
const WANDB: Integration = { type: 'wandb', environment: { WANDB_PROJECT: 'llama' } };
const OPENED: OpenedTrackers = {
  entries: [{ tracker: 'mlflow', url: 'http://mlflow/#/experiments/1/runs/2' }],
  environment: { MLFLOW_RUN_ID: '2' },
};
const UNOPENED: OpenedTrackers = {
  entries: [{ tracker: 'mlflow', problem: 'It does not answer.' }],
  environment: {},
};

/** Cluster and nodes of one test, as small honest implementations of our own activities. */
class World {
  readonly calls: string[] = [];
  readonly requests: CapacityRequest[] = [];
  construction: Construction | undefined;
  grants = true;
  clustersAreSilent = false;
  runsForever = false;
  /** Nodes that are away: they take the order to remove a container, and never answer. */
  silentRemovals = false;
  /** Removals end with it. */
  removal: Promise<void> = Promise.resolve();
  /** What each order to remove a container gave it to end by itself. */
  readonly removalGraces: number[] = [];
  /** A rank whose agent takes what it is given, and says nothing. */
  dead: { readonly rank: number; readonly until: Promise<void> } | undefined;
  onRequest: (request: CapacityRequest) => void = () => undefined;
  /** What the run told with each request for capacity. */
  readonly held: (Lease | undefined)[] = [];
  readonly releases: Release[] = [];
  readonly executed: RankExecution[] = [];
  readonly ends: RunEnd[] = [];
  trackerAnswer: () => Promise<OpenedTrackers> = () => Promise.reject(new Error('not asked for'));
  pullFailure: FailureType | undefined;
  exits: (ref: { readonly resumption: number; readonly rank: number }) => number | undefined = () =>
    undefined;
  private readonly id = `run-${randomUUID()}`;

  async finish(shape: Shape, meanwhile?: (id: string, client: Client) => Promise<void>): Promise<RunDetails> {
    const { client } = env;
    const options = { connection: env.nativeConnection, namespace: env.namespace ?? 'default' };
    const workers = await Promise.all([
      Worker.create({
        ...options,
        taskQueue: CONTROL_QUEUE,
        workflowBundle,
        activities: this.control(client, shape),
      }),
      ...NODES.map((node) =>
        Worker.create({
          ...options,
          taskQueue: nodeQueue(this.id, node),
          activities: this.node(),
          maxHeartbeatThrottleInterval: '100ms',
        }),
      ),
    ]);
    const done = this.live(client, shape, meanwhile);
    const settled = done.then(
      () => undefined,
      () => undefined,
    );
    await Promise.all(workers.map((worker) => worker.runUntil(settled)));
    return await done;
  }

  async until(call: string): Promise<void> {
    await expect.poll(() => this.calls, { timeout: 20_000 }).toContain(call);
  }

  private async live(
    client: Client,
    shape: Shape,
    meanwhile?: (id: string, client: Client) => Promise<void>,
  ): Promise<RunDetails> {
    const handle = await client.workflow.start('run', {
      workflowId: this.id,
      taskQueue: CONTROL_QUEUE,
      args: [aRunInput(shape)],
    });
    await meanwhile?.(this.id, client);
    await handle.result().catch(() => undefined);
    const history = new RunHistory(client, this.id);
    const { events } = await handle.fetchHistory();
    for (const event of events ?? []) await history.add(event);
    return history.current() as RunDetails;
  }

  private control(client: Client, { nodes }: Shape): ControlActivities {
    const resources = {
      cluster: this.id,
      gpuType: 'a100_80gb',
      gpus: 8 * nodes,
      nodes,
      gpusPerNode: 8,
      nodeNames: [],
    };
    return {
      construct: async () => {
        this.calls.push('construct');
        if (this.clustersAreSilent) throw new Error('query timed out');
        return this.construction ?? { accepted: true, resources, warnings: [] };
      },
      'wait-for-capacity': async ({ request, held }) => {
        this.held.push(held);
        this.calls.push(`wait-for-capacity ${request.resumption}`);
        this.requests.push(request);
        this.onRequest(request);
        if (!this.grants) return;
        const grant = { lease: aLease(request, nodes), masterAddress: '127.0.0.1' };
        await client.workflow.getHandle(request.run).signal(leaseGrantedSignal, grant);
      },
      complete: async (release) => {
        this.releases.push(release);
        this.calls.push(`complete ${release.resumption}`);
      },
    };
  }

  private node(): Omit<NodeActivities, 'serve-node'> {
    const note = (name: string, ref: { readonly resumption: number; readonly rank: number }): void =>
      void this.calls.push(`${name} ${ref.resumption}/${ref.rank}`);
    return {
      'pull-image': async (input) => {
        note('pull-image', input);
        if (this.pullFailure) throw ApplicationFailure.nonRetryable('no such image', this.pullFailure);
        return { imageId: 'sha256:0', downloadedBytes: 0 };
      },
      integrations: async (input) => note('integrations', input),
      'open-trackers': async (input) => {
        note('open-trackers', input);
        return await this.trackerAnswer();
      },
      'report-run': async () => {
        this.calls.push('report-run');
        return [{ tracker: 'mlflow' }];
      },
      'report-in-container': async (input) => {
        note('report-in-container', input);
        this.ends.push(input.end);
        return [{ tracker: 'wandb' }];
      },
      execute: async (input) => {
        note('execute', input);
        this.executed.push(input);
        if (input.rank === this.dead?.rank) await this.dead.until;
        const exitCode = this.exits(input);
        if (this.runsForever && exitCode === undefined) await heartbeatForever(() => note('stopped', input));
        const at = new Date().toISOString();
        return { exitCode: exitCode ?? 0, oomKilled: false, startedAt: at, finishedAt: at };
      },
      'stop-container': async (input) => {
        note('stop-container', input);
        if (input.rank === this.dead?.rank) await this.dead.until;
        return { endedBy: 'SIGTERM', afterMs: 100 };
      },
      'remove-container': async (input) => {
        this.removalGraces.push(input.graceMs);
        if (this.silentRemovals) await heartbeatForever(() => undefined);
        await this.removal;
        note('remove-container', input);
        return { endedBy: 'not-running' };
      },
    };
  }
}

async function heartbeatForever(onStop: () => void): Promise<never> {
  const activity = Context.current();
  const beat = setInterval(() => activity.heartbeat(), 50);
  try {
    return await activity.cancelled;
  } catch (error) {
    if (error instanceof CancelledFailure) onStop();
    throw error;
  } finally {
    clearInterval(beat);
  }
}

function aLoss(run: string, { leaseMs }: { readonly leaseMs?: number }): Revocation {
  const message = 'Node node-0 no longer answers.';
  const lease = leaseMs === undefined ? {} : { leaseMs };
  return { run, resumption: 0, type: 'NodeLost', node: 'node-0', message, ...lease };
}

async function statusOf(client: Client, run: string): Promise<unknown> {
  const { typedSearchAttributes } = await client.workflow.getHandle(run).describe();
  return typedSearchAttributes.get(defineSearchAttributeKey('RunStatus', 'KEYWORD'));
}

function aLease(request: CapacityRequest, nodes: number): Lease {
  const ranks = NODES.slice(0, nodes).map((node) => ({ node, gpuIds: [0, 1, 2, 3, 4, 5, 6, 7] }));
  return { request, fence: request.resumption + 1, ranks, grantedAt: 0 };
}

function aRunInput({
  maxRetries = 0,
  retryOnSystemFailure = true,
  maxDurationHours,
  integrations = [],
  graceMs = 1_000,
}: Shape): RunInput {
  const spec: RunSpec = {
    name: 'llama',
    image: 'bash',
    command: 'true',
    compute: {},
    scheduling: {
      priority: 'medium',
      preemptible: false,
      maxRetries,
      retryOnSystemFailure,
      ...(maxDurationHours === undefined ? {} : { maxDurationHours }),
    },
    integrations,
    envVariables: {},
    parametersYaml: '{}\n',
    metadata: {},
  };
  return { spec, submittedYaml: 'name: llama\n', user: 'ann', graceMs };
}
