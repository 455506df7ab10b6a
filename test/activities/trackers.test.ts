import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RankExecution } from '../../activities/contract.ts';
import { createTrackerActivities } from '../../activities/trackers.ts';
import type { RunDetails } from '../../client/run-history.ts';
import { trackerEnvironment } from '../../core/tracking.ts';
import type { OpenedTrackers, TrackerReport } from '../../core/tracking.ts';
import { anAttempt, aRank } from '../support/docker.ts';
import { TestMlflow } from '../support/mlflow.ts';

let mlflow: TestMlflow;
beforeAll(async () => {
  mlflow = await TestMlflow.start();
});
afterAll(() => mlflow?.dispose());

const STARTED = Date.parse('2026-05-01T10:00:00Z');
const ENDED = STARTED + 90_000;

function tracked(uri = mlflow.url): RankExecution {
  const environment = { MLFLOW_TRACKING_URI: uri, MLFLOW_EXPERIMENT_NAME: '/team/llama' };
  return aRank('python train.py', {
    integrations: [{ type: 'mlflow', environment }],
    parametersYaml: 'lr: 1.0e-4\nmodel: {name: llama, layers: [1, 2]}\n',
  });
}

/** How the run stands after its end; the agent reads this from the history. */
function ended(rank: RankExecution, trackers: RunDetails['trackers']): RunDetails {
  const { spec, user, graceMs, run } = rank;
  const measured = { last: 1, mean: 50, max: 100 };
  return {
    name: run,
    input: { spec, user, graceMs, submittedYaml: 'name: llama # as submitted\n' },
    resources: { cluster: 'c1', gpuType: 'h100', gpus: 16, nodes: 2, gpusPerNode: 8, nodeNames: [] },
    scheduling: spec.scheduling,
    createdAt: new Date(STARTED - 1_000),
    startedAt: new Date(STARTED),
    endedAt: new Date(ENDED),
    status: 'FAILED',
    reason: 'NonZeroExit',
    message: 'The command ended with exit code 3.',
    exitCode: 3,
    failure: 'NonZeroExit',
    resumption: 1,
    nodes: ['n1', 'n2'],
    lifecycle: [],
    reports: [
      {
        rank: 0,
        node: 'n1',
        progress: { step: 20, stepAt: ENDED - 5, metrics: { loss: 0.5, 'acc@1': null }, links: {} },
        usage: {
          at: ENDED,
          samples: 2,
          cpuPercent: measured,
          memoryBytes: measured,
          memoryLimitBytes: 9,
          gpus: [],
        },
      },
    ],
    ...(trackers && { trackers }),
    closed: true,
    rejected: false,
  };
}

function agent(details?: RunDetails) {
  return createTrackerActivities({
    runDetails: () => Promise.resolve(details),
    secretVariables: () => Promise.resolve({}),
    containerEnv: {},
  });
}

const open = (rank: RankExecution): Promise<OpenedTrackers> =>
  anAttempt().run(agent()['open-trackers'], rank);
const report = (details: RunDetails): Promise<readonly TrackerReport[]> =>
  anAttempt().run(agent(details)['report-run'], { run: details.name });

/** What a program in the container sees. */
function variables(
  rank: RankExecution,
  environment: Readonly<Record<string, string>>,
): Record<string, string> {
  return { ...trackerEnvironment(rank.run, 0, rank.spec), ...environment };
}

interface Entry {
  readonly info: Readonly<Record<string, unknown>>;
  readonly data: Readonly<
    Partial<Record<'params' | 'tags' | 'metrics', { key: string; value: unknown; step?: number }[]>>
  >;
}

async function entriesOf({ run }: RankExecution): Promise<Entry[]> {
  const filter = `tags.\`mcli.run\` = '${run}'`;
  const { experiments } = await mlflow.ask<{ experiments: { experiment_id: string }[] }>(
    'experiments/search',
    { max_results: 9 },
  );
  const experiment_ids = experiments.map(({ experiment_id: id }) => id);
  return (await mlflow.ask<{ runs?: Entry[] }>('runs/search', { experiment_ids, filter })).runs ?? [];
}

const asMap = (entries: readonly { key: string; value: unknown }[] = []) =>
  Object.fromEntries(entries.map(({ key, value }) => [key, value]));

describe('MLflow', () => {
  it('has one entry of a run, which a program that logs by itself joins, and which tells how the run has ended', async () => {
    const rank = tracked();
    const opened = await open(rank);
    expect(opened).toMatchObject({ links: [{ tracker: 'mlflow' }], problems: [] });
    const logs = `
import mlflow
with mlflow.start_run():
    mlflow.log_param("lr", 0.0001)
    mlflow.log_metric("loss", 0.75, step=20)
`;
    await mlflow.python(logs, variables(rank, opened.environment));
    const details = ended(rank, opened);
    expect(await report(details)).toEqual([{ tracker: 'mlflow', url: opened.links[0]?.url }]);
    // Whoever cannot hear the answer tells again.
    await report(details);

    const [entry, ...more] = await entriesOf(rank);
    expect(more).toEqual([]);
    expect(entry?.info).toMatchObject({ run_name: rank.run, status: 'FAILED', end_time: ENDED });
    // The program's own stand.
    expect(asMap(entry?.data.params)).toEqual({
      lr: '0.0001',
      'model.name': 'llama',
      'model.layers': '[1,2]',
    });
    expect(asMap(entry?.data.metrics)).toMatchObject({
      loss: 0.75,
      acc_1: 'NaN',
      'system/rank_0/cpu_utilization_percentage_max': 100,
    });
    expect(asMap(entry?.data.tags)).toMatchObject({
      'mlflow.user': 'tester',
      'mcli.status': 'FAILED',
      'mcli.reason': 'NonZeroExit',
      'mcli.message': 'The command ended with exit code 3.',
      'mcli.gpus': '16',
      'mcli.nodes': 'n1, n2',
      'mcli.started': '2026-05-01T10:00:00.000Z',
      'mcli.ended': '2026-05-01T10:01:30.000Z',
    });
    expect(await mlflow.artifact(String(entry?.info['run_id']), 'mcli/run.yaml')).toBe(
      'name: llama # as submitted\n',
    );
  });

  it('goes on with the entry of the run in its next resumption', async () => {
    const rank = tracked();
    const opened = await open(rank);
    const [entry] = await entriesOf(rank);
    await mlflow.ask('runs/update', { run_id: entry?.info['run_id'], status: 'FAILED', end_time: 1 });
    expect(await open({ ...rank, resumption: 1 })).toEqual(opened);
    expect((await entriesOf(rank)).map(({ info }) => info['status'])).toEqual(['RUNNING']);
  });

  it('does not hold up a run when it is away, and is told at the end, in the entry that the program has made', async () => {
    const rank = tracked();
    await mlflow.down();
    const startedAt = Date.now();
    const opened = await open(rank);
    expect(Date.now() - startedAt).toBeLessThan(10_000);
    expect(opened).toMatchObject({ links: [], environment: {} });
    expect(opened.problems[0]).toMatch(/^MLflow at http:\S+ does not answer: .* The run goes on/);
    await expect(report(ended(rank, opened))).rejects.toThrow(/does not answer/);

    await mlflow.up();
    await mlflow.python('import mlflow\nmlflow.start_run()', variables(rank, {}));
    await report(ended(rank, opened));
    expect((await entriesOf(rank)).map(({ info }) => info['status'])).toEqual(['FAILED']);
  });

  it('says where nobody can be asked, and never tries again', async () => {
    const rank = tracked('file:/mlruns');
    const { problems } = await open(rank);
    expect(problems[0]).toContain('MLFLOW_TRACKING_URI is file:/mlruns');
    expect(await report(ended(rank, undefined))).toEqual([{ tracker: 'mlflow', problem: problems[0] }]);
  });

  it('is not told of a run that was deleted', async () => {
    expect(await anAttempt().run(agent()['report-run'], { run: 'gone' })).toEqual([]);
  });
});
