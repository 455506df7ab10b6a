import { randomUUID } from 'node:crypto';
import { Client, Connection } from '@temporalio/client';
import { defineSearchAttributeKey } from '@temporalio/common';
import type { MockActivityEnvironment, TestWorkflowEnvironment } from '@temporalio/testing';
import { Worker } from '@temporalio/worker';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { createClusterActivities } from '../../activities/clusters.ts';
import { commandFiles, containerConfig } from '../../activities/container-config.ts';
import type { RankExecution } from '../../activities/contract.ts';
import type { Docker } from '../../activities/docker.ts';
import { DockerError } from '../../activities/docker-requests.ts';
import { createOrphanKeeper } from '../../activities/orphans.ts';
import { emptyCluster } from '../../core/cluster-state.ts';
import { CLUSTER_QUEUE, clusterWorkflowId, containerName, WORKFLOW_TYPES } from '../../core/naming.ts';
import { clusterViewQuery, requestCapacitySignal } from '../../workflows/messages.ts';
import { aLease, aRequest } from '../support/clusters.ts';
import {
  aLogShipper,
  anAttempt,
  aRankToRun,
  containerOf,
  docker,
  eventually,
  SETTINGS,
  shippedLog,
  vanish,
} from '../support/docker.ts';
import { freePort, useNats } from '../support/nats.ts';
import { bundleWorkflows, startTemporal } from '../support/temporal.ts';

const RESUMPTION = defineSearchAttributeKey('Resumption', 'INT');
const UNTIL_STOPPED = "trap 'echo saved; exit 0' TERM; echo up; touch /up; sleep 600 & wait";
const isGone = (state: unknown): boolean => state === undefined;

const nats = useNats();
let temporal: TestWorkflowEnvironment;
let worker: Worker;
let running: Promise<void>;
const watches: AbortController[] = [];

beforeAll(async () => {
  temporal = await startTemporal();
  worker = await Worker.create({
    connection: temporal.nativeConnection,
    namespace: temporal.namespace ?? 'default',
    taskQueue: CLUSTER_QUEUE,
    workflowBundle: await bundleWorkflows('cluster-index.ts'),
    activities: createClusterActivities({ temporal: temporal.client }),
  });
  running = worker.run();
});
afterEach(async () => {
  vi.useRealTimers();
  for (const watch of watches.splice(0)) watch.abort();
});
afterAll(async () => {
  worker?.shutdown();
  await running;
  await temporal?.teardown();
});

describe('an agent', () => {
  it('stops the container of a run that was terminated, and gives its lease back', async () => {
    const rank = await aRunningRank();
    const live = await aRunningRank({ cluster: rank.cluster });
    const leasedRuns = await aClusterWithLeases(rank, live);
    expect(await leasedRuns()).toHaveLength(2);
    await terminate(rank);
    anAgentOf(rank).watch();
    await eventually(leasedRuns, ([first, ...more]) => first === live.run && more.length === 0);
    expect(await containerOf(rank)).toBeUndefined();
    expect(await shippedLog(nats.connection, rank)).toMatchObject({
      text: 'up\nsaved\n',
      ends: ['orphaned'],
    });
    expect((await containerOf(live))?.status).toBe('running');
  });

  it('stops what is left of an earlier resumption, and leaves the one that is on', async () => {
    const left = await aRunningRank({}, 1);
    const live = await aRunningRank({ cluster: left.cluster, resumption: 1 }, 1);
    anAgentOf(left).watch();
    await eventually(() => containerOf(left), isGone);
    expect((await containerOf(live))?.status).toBe('running');
  });

  it('never touches a container of another control plane, cluster or node', async () => {
    const mine = await aRunningRank();
    const { cluster } = mine;
    const others = await Promise.all([
      aRunningRank({ cluster }, 0, 'another'),
      aRunningRank(),
      aRunningRank({ cluster, node: 'another' }),
    ]);
    await Promise.all([mine, ...others].map(terminate));
    anAgentOf(mine).watch();
    await eventually(() => containerOf(mine), isGone);
    for (const other of others) expect((await containerOf(other))?.status).toBe('running');
  });

  it('leaves a container to the activity that holds it, and looks at once when that learns of the end', async () => {
    const held = await aRunningRank();
    const free = await aRunningRank({ cluster: held.cluster });
    await Promise.all([held, free].map(terminate));
    const agent = anAgentOf(held);
    const attempt = anAttempt();
    const learned = Promise.withResolvers<void>();
    const activity = agent.hold(held, attempt, learned.promise);
    agent.watch();
    await eventually(() => containerOf(free), isGone);
    expect((await containerOf(held))?.status).toBe('running');
    vanish(attempt);
    learned.resolve();
    await activity;
    // Sooner than the next look of its own.
    await eventually(() => containerOf(held), isGone, 6_000);
  });

  it('does not count as cleared up while a container resists', async () => {
    const rank = await aRunningRank();
    await terminate(rank);
    const refuse = () =>
      Promise.reject(new DockerError('tried to kill container, but did not receive an exit event', 500));
    await expect(anAgentOf(rank, temporal.client, { kill: refuse }).settle()).rejects.toThrow('exit event');
    await anAgentOf(rank).settle();
    expect((await containerOf(rank))?.status).not.toBe('running');
  });

  it('counts as cleared up only when nothing runs that an activity still holds, and says what it waits for', async () => {
    const rank = await aRunningRank();
    await terminate(rank);
    const agent = anAgentOf(rank);
    const removed = Promise.withResolvers<void>();
    const removal = agent.hold(rank, anAttempt(), removed.promise);
    const said = vi.spyOn(console, 'error').mockReturnValue();
    onTestFinished(() => said.mockRestore());
    let isSettled = false;
    const settling = agent.settle().then(() => (isSettled = true));
    const waits = expect.stringMatching(new RegExp(`still hold it: ${containerName(rank)}$`));
    await expect.poll(() => said, { timeout: 20_000 }).toHaveBeenCalledWith(waits);
    expect(isSettled).toBe(false);
    await docker.kill(containerName(rank), 'SIGKILL');
    await settling;
    removed.resolve();
    await removal;
  });

  it('does not count as cleared up while a container runs that an activity has just let go of', async () => {
    const rank = await aRunningRank();
    await terminate(rank);
    const learned = Promise.withResolvers<void>();
    let lists = 0;
    const agent = anAgentOf(rank, temporal.client, {
      async list(labels) {
        lists += 1;
        if (lists === 2) learned.resolve();
        await (lists === 2 && activity);
        return docker.list(labels);
      },
    });
    const activity = agent.hold(rank, anAttempt(), learned.promise);
    await agent.settle();
    expect((await containerOf(rank))?.status).not.toBe('running');
  });

  it('touches nothing while Temporal is away', async () => {
    const rank = await aRunningRank();
    await terminate(rank);
    const away = Connection.lazy({ address: `127.0.0.1:${await freePort()}` });
    const agent = anAgentOf(rank, new Client({ connection: away }));
    agent.watch();
    const looked = (times: number) =>
      eventually(
        () => Promise.resolve(agent.looks()),
        (looks) => looks === times,
      );
    await looked(1);
    const attempt = anAttempt();
    vanish(attempt);
    await agent.hold(rank, attempt, Promise.resolve());
    await looked(2);
    expect((await containerOf(rank))?.status).toBe('running');
  });
});

describe('a cluster', () => {
  it('frees what a terminated run holds only when its nodes had the time to clear up', async () => {
    const { run } = await aRunningRank();
    const activities = createClusterActivities({ temporal: temporal.client });
    const endedRuns = (more = {}) => anAttempt().run(activities['find-ended-runs'], { runs: [run], ...more });
    const known = temporal.client.workflow.getHandle(run);
    expect(await endedRuns()).toEqual([]);
    await known.terminate('by hand');
    const { closeTime } = await known.describe();
    expect(await endedRuns()).toEqual([]);
    expect(await endedRuns({ queued: [run] })).toEqual([run]);
    vi.setSystemTime((closeTime?.getTime() ?? 0) + 100_000);
    expect(await endedRuns()).toEqual([run]);
  });
});

/** A rank whose container runs, of a run that is open in Temporal, on the resumption `runsOn`. */
async function aRunningRank(
  more: Partial<RankExecution> = {},
  runsOn = 0,
  controlPlane = SETTINGS.controlPlane,
): Promise<RankExecution> {
  const rank = aRankToRun(UNTIL_STOPPED, {}, { cluster: `test-${randomUUID()}`, ...more });
  const name = containerName(rank);
  const settings = { ...SETTINGS, controlPlane };
  // No worker serves it: open is all that it has to be.
  await temporal.client.workflow.start(WORKFLOW_TYPES.run, {
    workflowId: rank.run,
    taskQueue: 'nobody',
    typedSearchAttributes: [{ key: RESUMPTION, value: runsOn }],
  });
  await docker.create(containerConfig(rank, settings, false));
  await docker.putFiles(name, commandFiles(rank, settings));
  await docker.start(name);
  await eventually(() => docker.fileExists(name, '/up'), Boolean);
  return rank;
}

async function terminate({ run }: RankExecution): Promise<void> {
  await temporal.client.workflow.getHandle(run).terminate('by hand');
}

/** @returns what asks for the runs that hold capacity. */
async function aClusterWithLeases(...holders: readonly RankExecution[]): Promise<() => Promise<string[]>> {
  const cluster = holders[0]?.cluster ?? '';
  for (const [index, { run, resumption, node, fence }] of holders.entries()) {
    const request = aRequest(run, { resumption, createdAt: index });
    await temporal.client.workflow.signalWithStart(WORKFLOW_TYPES.cluster, {
      workflowId: clusterWorkflowId(cluster),
      taskQueue: CLUSTER_QUEUE,
      args: [emptyCluster(cluster, 0)],
      signal: requestCapacitySignal,
      signalArgs: [request, aLease(request, node, index, { fence })],
    });
  }
  // A run that ends before it hears of its lease loses it at once: it has no container yet.
  for (const { run } of holders)
    await eventually(
      () => eventsOf(run),
      (events) => events.includes('signal'),
    );
  return async () => {
    const handle = temporal.client.workflow.getHandle(clusterWorkflowId(cluster));
    const { snapshot } = await handle.query(clusterViewQuery);
    return snapshot.leases.map(({ request }) => request.run);
  };
}

async function eventsOf(run: string): Promise<string[]> {
  const { events } = await temporal.client.workflow.getHandle(run).fetchHistory();
  return (events ?? []).map((event) => (event.workflowExecutionSignaledEventAttributes ? 'signal' : 'other'));
}

/** The part of the agent of a rank's node that clears up. */
function anAgentOf(
  { cluster, node }: RankExecution,
  client: Client = temporal.client,
  faults: Partial<Docker> = {},
) {
  const stop = new AbortController();
  watches.push(stop);
  let looks = 0;
  const keeper = createOrphanKeeper({
    docker: {
      ...docker,
      list(labels) {
        looks += 1;
        return docker.list(labels);
      },
      ...faults,
    },
    logs: aLogShipper(nats.connection),
    cleanUp: () => Promise.resolve(),
    temporal: client,
    place: { controlPlane: SETTINGS.controlPlane, cluster, node },
    sayAfterMs: 2_000,
  });
  return {
    /** Runs an activity of a rank. */
    hold: (rank: RankExecution, { context }: MockActivityEnvironment, end: Promise<void>) =>
      keeper.interceptors(context).inbound?.execute?.({ args: [rank], headers: {} }, () => end),
    settle: () => keeper.settle(),
    watch: () => void keeper.watch(stop.signal),
    looks: () => looks,
  };
}
