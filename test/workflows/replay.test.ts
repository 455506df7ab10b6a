import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import type { WorkflowBundleWithSourceMap } from '@temporalio/worker';
import { bundleWorkflows } from '../support/temporal.ts';

/** `run-…` belongs to the bundle of the control worker, `cluster-…` and `node-…` to that of the cluster worker. */
const HISTORIES = path.resolve(import.meta.dirname, '../histories');
const recordings = readdirSync(HISTORIES).filter((file) => file.endsWith('.json'));

interface Recording {
  readonly events: readonly [{ workflowExecutionStartedEventAttributes: { readonly workflowId: string } }];
}

let runs: WorkflowBundleWithSourceMap;
let clusters: WorkflowBundleWithSourceMap;
beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  [runs, clusters] = await Promise.all([bundleWorkflows('index.ts'), bundleWorkflows('cluster-index.ts')]);
});

describe('recorded histories', () => {
  it('are there', () => expect(recordings.length).toBeGreaterThan(0));

  it.each(recordings)('%s replays', async (file) => {
    const history = JSON.parse(await readFile(path.join(HISTORIES, file), 'utf8')) as Recording;
    const workflowBundle = file.startsWith('run-') ? runs : clusters;
    const [started] = history.events;
    // Names of other workflows are made of it.
    const { workflowId } = started.workflowExecutionStartedEventAttributes;
    await Worker.runReplayHistory({ workflowBundle }, history, workflowId);
  });

  it('do not replay with code that does something else', async () => {
    const file = recordings.find((name) => name.startsWith('node-')) ?? '';
    const history = JSON.parse(await readFile(path.join(HISTORIES, file), 'utf8')) as {
      events: { activityTaskScheduledEventAttributes?: { activityType: { name: string } } }[];
    };
    for (const { activityTaskScheduledEventAttributes: scheduled } of history.events) {
      if (scheduled) scheduled.activityType.name = 'another';
    }
    await expect(Worker.runReplayHistory({ workflowBundle: clusters }, history)).rejects.toThrow();
  });
});
