import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { historyFromJSON } from '@temporalio/common/lib/proto-utils.js';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { RankFailures } from '../../client/rank-failures.ts';
import { RunHistory } from '../../client/run-history.ts';
import { startTemporal } from '../support/temporal.ts';

let env: TestWorkflowEnvironment;
beforeAll(async () => {
  env = await startTemporal();
});
afterAll(() => env?.teardown());

/** Of a recorded run. */
async function firstFailure(name: string, resumption: number) {
  const file = path.resolve(import.meta.dirname, `../histories/${name}.json`);
  const { events } = historyFromJSON(JSON.parse(await readFile(file, 'utf8')));
  const [history, failures] = [new RunHistory(env.client, 'recorded'), new RankFailures(env.client)];
  for (const event of events ?? []) {
    await history.add(event);
    await failures.add(event);
  }
  return failures.first({ resumption, lifecycle: history.current()?.lifecycle ?? [] });
}

it.each([
  ['a command that failed', 'run-retried', 1, { type: 'NonZeroExit', exitCode: 3, rank: 0, node: 'node-0' }],
  ['a command that failed and was tried again', 'run-retried', 0, { type: 'NonZeroExit', rank: 0 }],
  ['an image that could not be pulled', 'run-failed-pull', 0, { type: 'RegistryUnreachable', rank: 0 }],
  ['a node that was lost', 'run-node-lost', 0, { type: 'NodeLost', rank: 0 }],
  [
    'a node that was lost, whose container was stopped when it was back',
    'run-node-came-back',
    0,
    { type: 'NodeLost' },
  ],
  ['a command that ended well', 'run-completed', 0, undefined],
  ['a command that was told to stop', 'run-stopped-while-running', 0, undefined],
  ['a command that obeyed before it was cancelled', 'run-node-came-back', 1, undefined],
  ['a command that gave way to another run', 'run-preempted-and-resumed', 0, undefined],
])('says of %s what its history has', async (_, name, resumption, expected) => {
  const failure = await firstFailure(name, resumption);
  if (expected) expect(failure).toMatchObject(expected);
  else expect(failure).toBeUndefined();
});
