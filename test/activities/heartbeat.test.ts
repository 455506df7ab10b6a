import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { WorkflowHandle } from '@temporalio/client';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { bundleWorkflowCode, DefaultLogger, Worker } from '@temporalio/worker';
import type { WorkflowBundleWithSourceMap } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { whileAttached } from '../../activities/attached.ts';
import { untilConfirmed } from '../../activities/heartbeat.ts';
import type { OneActivity } from '../support/one-activity-workflow.ts';
import { startTemporal } from '../support/temporal.ts';

let temporal: TestWorkflowEnvironment;
let workflowBundle: WorkflowBundleWithSourceMap;

beforeAll(async () => {
  const workflowsPath = new URL('../support/one-activity-workflow.ts', import.meta.url).pathname;
  [temporal, workflowBundle] = await Promise.all([
    startTemporal(),
    bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('WARN') }),
  ]);
});
afterAll(() => temporal?.teardown());

describe('an attempt of an activity', () => {
  it('goes on while the server wants it to', async () => {
    expect(await confirmed()).toBe(true);
  });

  it.each([
    ['cancelled', (handle: WorkflowHandle) => handle.cancel()],
    ['terminated', (handle: WorkflowHandle) => handle.terminate()],
  ])('does not go on when its workflow was %s, before the SDK says so', async (_, end) => {
    expect(await confirmed(end)).toBe(false);
  });
});

/** Whether an activity may go on that asks when its workflow has ended in this way, or has not ended. */
async function confirmed(end?: (handle: WorkflowHandle) => Promise<unknown>): Promise<boolean> {
  const [started, asks] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let isConfirmed = false;
  const activities: OneActivity = {
    work: () =>
      whileAttached(async (signal) => {
        started.resolve();
        await asks.promise;
        await untilConfirmed(temporal.client, signal);
        isConfirmed = true;
      }),
  };
  const taskQueue = `test-${randomUUID()}`;
  const worker = await Worker.create({
    connection: temporal.nativeConnection,
    namespace: temporal.namespace ?? 'default',
    taskQueue,
    workflowBundle,
    activities,
  });
  await worker.runUntil(async () => {
    const handle = await temporal.client.workflow.start('oneActivity', { workflowId: taskQueue, taskQueue });
    await started.promise;
    if (end) {
      await end(handle);
      // By now the server knows, from the workflow, that nobody wants the activity.
      await handle.result().catch(() => undefined);
    }
    asks.resolve();
    await sleep(1_000);
  });
  return isConfirmed;
}
