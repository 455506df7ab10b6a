import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { RunHistory } from '../../client/run-history.ts';
import { listRuns } from '../../client/run-list.ts';
import { metadataKeywords } from '../../core/metadata-keywords.ts';
import { WORKFLOW_TYPES } from '../../core/naming.ts';
import type { RunStatus } from '../../core/run-status.ts';
import { startTemporal } from '../support/temporal.ts';

/** More than one page, so that the newest have to be looked for. */
const NEWER_RUNS = 210;

let env: TestWorkflowEnvironment;
beforeAll(async () => {
  env = await startTemporal();
  await open('stopped-old', 'STOPPED');
  await open('stopped-new', 'STOPPED');
  await open('terminated', 'RUNNING');
  await env.client.workflow.getHandle('terminated').terminate();
  const names = Array.from({ length: NEWER_RUNS }, (_, index) => `running-${index}`);
  for (let from = 0; from < names.length; from += 30) {
    await Promise.all(names.slice(from, from + 30).map((name) => open(name, 'RUNNING')));
  }
  await open('newest', 'QUEUED');
});
afterAll(() => env?.teardown());

describe('a list of runs', () => {
  it('begins with the newest, however many there are', async () => {
    // Visibility is a moment behind.
    const all = async () => (await listRuns(env.client, {}, Infinity)).length;
    await expect.poll(all, { timeout: 20_000 }).toBe(NEWER_RUNS + 4);
    const [first, ...rest] = await listRuns(env.client, {}, 5);
    expect(first?.name).toBe('newest');
    expect(rest).toHaveLength(4);
  });

  it('finds the newest of a status behind a page of newer runs of others', async () => {
    expect(await namesOf(['STOPPED'], 2)).toEqual(['terminated', 'stopped-new']);
    expect(await namesOf(['STOPPED'], 50)).toEqual(['terminated', 'stopped-new', 'stopped-old']);
  });

  it('counts a terminated run as stopped, and not as what it was', async () => {
    const running = await namesOf(['RUNNING'], Infinity);
    expect(running).toHaveLength(NEWER_RUNS);
    expect(running).not.toContain('terminated');
  });
});

describe('runs with metadata', () => {
  const METADATA = {
    team: 'vision',
    'paper/section': 'a=b',
    note: `it's "quoted" \\ and 100 % ünïcode`,
    epochs: 3,
    tags: ['x', 'y'],
    long: 'x'.repeat(1_000),
  };
  const found = async (...metadata: string[]) =>
    (await listRuns(env.client, { metadata }, Infinity)).map(({ name }) => name).sort();

  it('are found by key and value, and carry both', async () => {
    await open('with-metadata', 'RUNNING', metadataKeywords(METADATA));
    await open('with-more', 'RUNNING', metadataKeywords({ team: 'vision', epochs: 30 }));
    await expect
      .poll(() => found('team=vision'), { timeout: 20_000 })
      .toEqual(['with-metadata', 'with-more']);
    for (const text of [
      'paper/section=a=b',
      `note=${METADATA.note}`,
      'epochs=3',
      'tags=["x","y"]',
      `long=${METADATA.long}`,
    ]) {
      expect(await found(text), text).toEqual(['with-metadata']);
    }
    expect(await found('team=vision', 'epochs=30')).toEqual(['with-more']);
    expect(await found('team=vis')).toEqual([]);
    expect(await found('team')).toEqual([]);
    expect(await found('team=Vision')).toEqual([]);
    const [run] = await listRuns(env.client, { metadata: ['epochs=3'] }, 1);
    expect(run?.metadata).toMatchObject({
      team: 'vision',
      'paper/section': 'a=b',
      epochs: '3',
      tags: "['x','y']",
    });
  });

  it('never have more than the server takes', async () => {
    const huge = Object.fromEntries(
      Array.from({ length: 200 }, (_, i) => [`key-${i}`, '\u{1F600}"'.repeat(200)]),
    );
    await open('with-much', 'RUNNING', metadataKeywords({ first: 1, ...huge }));
    await expect.poll(() => found('first=1'), { timeout: 20_000 }).toEqual(['with-much']);
  });
});

describe('a history', () => {
  it('of another workflow is not a run', async () => {
    const handle = await env.client.workflow.start(WORKFLOW_TYPES.cluster, {
      workflowId: 'cluster/r1z1',
      taskQueue: 'nobody',
      args: [{}],
    });
    const history = new RunHistory(env.client, handle.workflowId);
    for (const event of (await handle.fetchHistory()).events ?? []) await history.add(event);
    expect(history.current()).toBeUndefined();
  });
});

async function namesOf(statuses: readonly RunStatus[], limit: number): Promise<string[]> {
  return (await listRuns(env.client, { statuses }, limit)).map(({ name }) => name);
}

/** A run that only lists can see: nobody serves its queue. */
async function open(workflowId: string, status: RunStatus, metadata: string[] = []): Promise<void> {
  const metadataKey = defineSearchAttributeKey('Metadata', SearchAttributeType.KEYWORD_LIST);
  const key = defineSearchAttributeKey('RunStatus', SearchAttributeType.KEYWORD);
  // A terminal status that the workflow itself has written is believed, whether it has closed yet or not.
  await env.client.workflow.start(WORKFLOW_TYPES.run, {
    workflowId,
    taskQueue: 'nobody',
    typedSearchAttributes: [
      { key, value: status },
      { key: metadataKey, value: metadata },
    ],
  });
}
