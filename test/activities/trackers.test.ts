import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { RankExecution } from '../../activities/contract.ts';
import { createMetricFeed } from '../../activities/metric-feed.ts';
import type { RankFeed } from '../../activities/metric-feed.ts';
import { createMlflow } from '../../activities/mlflow.ts';
import { mlflowServer } from '../../activities/mlflow-server.ts';
import { createTrackerVariables } from '../../activities/tracker-variables.ts';
import { createTrackerActivities, REPORTS_AT_A_TIME } from '../../activities/trackers.ts';
import type { RunDetails } from '../../client/run-history.ts';
import type { Metric } from '../../core/progress.ts';
import { trackerEnvironment } from '../../core/tracking.ts';
import type { OpenedTrackers, TrackerEntry } from '../../core/tracking.ts';
import { anAttempt, aRank, eventually } from '../support/docker.ts';
import { ENDED, endedRun, STARTED } from '../support/ended-run.ts';
import { TestMlflow } from '../support/mlflow.ts';
import { freePort } from '../support/nats.ts';

let mlflow: TestMlflow;
beforeAll(async () => {
  mlflow = await TestMlflow.start();
});
afterAll(() => mlflow?.dispose());
const proxies: Server[] = [];
afterEach(() => {
  for (const proxy of proxies.splice(0)) proxy.close();
});

/** The address of MLflow behind a proxy that spoils its answers to requests of this kind. */
async function spoiled(kind: string, spoil: (answer: ServerResponse) => void): Promise<string> {
  const relay = async (request: IncomingMessage, answer: ServerResponse): Promise<void> => {
    const { method = '', url = '', headers } = request;
    const { 'content-type': type = '' } = headers;
    const body = method === 'GET' ? {} : { body: await buffer(request), headers: { 'content-type': type } };
    const real = await fetch(mlflow.url + url, { method, ...body });
    const text = await real.text();
    if (url.includes(kind)) spoil(answer);
    else answer.writeHead(real.status).end(text);
  };
  const proxy = createServer((request, answer) => void relay(request, answer)).listen(0, '127.0.0.1');
  proxies.push(proxy);
  await once(proxy, 'listening');
  return `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
}

function tracked(uri = mlflow.url): RankExecution {
  const environment = { MLFLOW_TRACKING_URI: uri, MLFLOW_EXPERIMENT_NAME: '/team/llama' };
  return aRank('python train.py', {
    integrations: [{ type: 'mlflow', environment }],
    parametersYaml: 'lr: 1.0e-4\nmodel: {name: llama, layers: [1, 2]}\n',
    metadata: { team: 'vision', 'a b': { ids: [1] } },
    parentName: 'sweep-abc123',
  });
}

const variablesOf = createTrackerVariables({
  secretVariables: () => Promise.resolve({}),
  containerEnv: {},
});

function agent(details?: RunDetails) {
  return createTrackerActivities({ runDetails: () => Promise.resolve(details), variablesOf });
}

const open = (rank: RankExecution): Promise<OpenedTrackers> =>
  anAttempt().run(agent()['open-trackers'], rank);
const report = (details: RunDetails): Promise<readonly TrackerEntry[]> =>
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

async function pointsOf(rank: RankExecution, key: string): Promise<{ step: number; value: number }[]> {
  const [entry] = await entriesOf(rank);
  const query = `run_id=${String(entry?.info['run_id'])}&metric_key=${key}`;
  type History = { metrics?: { step: number; value: number }[] };
  return (await mlflow.ask<History>(`metrics/get-history?${query}`)).metrics ?? [];
}

/** What a resumption is told when MLflow is away at its start. */
const UNOPENED: OpenedTrackers = {
  entries: [{ tracker: 'mlflow', problem: 'It is away.' }],
  environment: {},
};
const LOSS: Metric = { name: 'loss', value: 1, step: 1, at: STARTED };

const asMap = (entries: readonly { key: string; value: unknown }[] = []) =>
  Object.fromEntries(entries.map(({ key, value }) => [key, value]));

it('a link that would show a secret is left out, since it goes into the history', async () => {
  const environment = { WANDB_ENTITY: 'secret-team', WANDB_PROJECT: 'p' };
  const rank = aRank('true', { integrations: [{ type: 'wandb', environment }] });
  const openedWith = async (secrets: readonly string[]) => {
    const secretsOf = () => Promise.resolve(secrets);
    const runDetails = () => Promise.resolve(undefined);
    const { 'open-trackers': openAll } = createTrackerActivities({ runDetails, variablesOf, secretsOf });
    const { entries }: OpenedTrackers = await anAttempt().run(openAll, rank);
    return entries[0]?.url;
  };
  expect(await openedWith(['another'])).toBe(`https://wandb.ai/secret-team/p/runs/${rank.run}`);
  expect(await openedWith(['secret-team'])).toBeUndefined();
});

describe('MLflow', () => {
  it('has one entry of a run, which a program that logs by itself joins, and which tells how the run has ended', async () => {
    const rank = tracked();
    const opened = await open(rank);
    expect(opened).toMatchObject({
      entries: [{ tracker: 'mlflow', url: expect.stringContaining('/runs/') }],
    });
    const logs = `
import mlflow
with mlflow.start_run():
    mlflow.log_param("lr", 0.0001)
    mlflow.log_metric("loss", 0.75, step=20)
`;
    await mlflow.python(logs, variables(rank, opened.environment));
    const details = endedRun(rank, opened);
    expect(await report(details)).toEqual(opened.entries);
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
    expect(entry?.data.metrics).toContainEqual({ key: 'acc_1', value: 'NaN', step: 20, timestamp: ENDED });
    expect(asMap(entry?.data.tags)).toMatchObject({
      'mlflow.user': 'tester',
      'mcli.run': rank.run,
      'mcli.status': 'FAILED',
      'mcli.parent': 'sweep-abc123',
      'mcli.link.run': 'https://r.example',
      'mcli.link.status': 'https://s.example',
      'mcli.metadata.team': 'vision',
      'mcli.metadata.a b': '{"ids":[1]}',
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

  it('takes all names and steps, and one value of names that are the same to it', async () => {
    const rank = tracked();
    const parametersYaml = 'a@b: 1\na#b: 2\nc/../d: 3\n..: 4\n';
    const details = endedRun({ ...rank, spec: { ...rank.spec, parametersYaml } });
    const metrics = { '': 1, 'x/./y': 2, '.': 3 };
    const reports = details.reports.map((each) => ({
      ...each,
      progress: { step: 1e300, stepAt: ENDED, metrics, links: {} },
    }));
    await report({ ...details, reports });
    const [entry] = await entriesOf(rank);
    expect(asMap(entry?.data.params)).toEqual({ a_b: '2', 'c/_/d': '3', _: '4' });
    expect(asMap(entry?.data.metrics)).toMatchObject({ 'x/_/y': 2, _: expect.any(Number) });
  });

  it('is told of the end also where the parameters are too many, or endless', async () => {
    const rank = tracked();
    const many = Array.from({ length: 2_050 }, (_, index) => `p${index}: 1\n`).join('');
    const details = endedRun({ ...rank, spec: { ...rank.spec, parametersYaml: many } });
    await report(details);
    await report(details);
    const [entry] = await entriesOf(rank);
    expect(entry?.data.params).toHaveLength(2_000);
    expect(asMap(entry?.data.tags)['mcli.refused']).toBe('50 of 2050 parameters are only in mcli/run.yaml.');

    const endless = tracked();
    await report(endedRun({ ...endless, spec: { ...endless.spec, parametersYaml: 'a: &a [*a]\n' } }));
    expect((await entriesOf(endless)).map(({ info }) => info['status'])).toEqual(['FAILED']);
  });

  it('gets everything but what it refuses, and says in the entry what that was', async () => {
    const rank = tracked();
    const tracking = await open(rank);
    const runId = tracking.environment['MLFLOW_RUN_ID'] ?? '';
    const client = createMlflow(mlflowServer({ MLFLOW_TRACKING_URI: mlflow.url }), 20_000);
    const params = new Map(Array.from({ length: 90 }, (_, index) => [`p${index}`, '1']));
    expect(await client.log(runId, { params: new Map([['p50', '2']]) })).toBeUndefined();
    expect(await client.log(runId, { params })).toContain('p50');
    const feed = createMetricFeed({ variablesOf, intervalMs: 50 }).begin({ ...rank, tracking });
    const metric = { name: 'loss', value: 1, step: 1, at: STARTED };
    feed?.add([{ ...metric, at: Number.NaN }, metric]);
    await eventually(
      () => entriesOf(rank),
      ([entry]) => entry?.data.metrics !== undefined,
    );
    feed?.end();

    const details = endedRun(rank, tracking);
    const reports = details.reports.map((each) => ({
      ...each,
      progress: { step: 2, stepAt: Infinity, metrics: { loss: 2 }, links: {} },
    }));
    await report({ ...details, reports });
    const [entry] = await entriesOf(rank);
    expect(asMap(entry?.data.params)).toMatchObject({ p0: '1', p50: '2', p89: '1', lr: '0.0001' });
    expect(asMap(entry?.data.metrics)).toMatchObject({ loss: 1 });
    expect(asMap(entry?.data.tags)).toMatchObject({
      'mcli.status': 'FAILED',
      'mcli.refused': expect.stringContaining('timestamp'),
    });
  });

  it('knows that a run has ended when it refuses everything else that is said of it', async () => {
    const refuse = (answer: ServerResponse) =>
      answer.writeHead(500).end('{"error_code":"INTERNAL_ERROR","message":"no"}');
    const rank = tracked(await spoiled('log-batch', refuse));
    const opened = await open(rank);
    await expect(report(endedRun(rank, opened))).rejects.toThrow('refuses: no');
    expect((await entriesOf(rank)).map(({ info }) => info['status'])).toEqual(['FAILED']);
  });

  it('goes on with the entry of the run in its next resumption', async () => {
    const rank = tracked();
    const opened = await open(rank);
    const [entry] = await entriesOf(rank);
    await mlflow.ask('runs/update', { run_id: entry?.info['run_id'], status: 'FAILED', end_time: 1 });
    expect(await open({ ...rank, resumption: 1 })).toEqual(opened);
    expect((await entriesOf(rank)).map(({ info }) => info['status'])).toEqual(['RUNNING']);
  });

  it('has one entry of a run, also when its answer to the making of it was lost', async () => {
    const lost = await spoiled('runs/create', (answer) => answer.destroy());
    const rank = tracked(lost);
    const opened = await open(rank);
    const [entry, ...more] = await entriesOf(rank);
    expect(more).toEqual([]);
    expect(opened.environment).toEqual({ MLFLOW_RUN_ID: entry?.info['run_id'] });
  });

  it('shows metrics while the run goes on, and the last of them when it has ended', async () => {
    const rank = tracked();
    const tracking = await open(rank);
    const feed = createMetricFeed({ variablesOf, intervalMs: 50 }).begin({ ...rank, tracking });
    feed?.add([{ name: 'acc@1', value: 0.5, step: 10, at: STARTED }]);
    const points = () => pointsOf(rank, 'acc_1');
    await eventually(points, ({ length }) => length === 1);
    feed?.add([{ name: 'acc@1', value: 0.5, step: 20, at: STARTED + 1 }]);
    feed?.end();
    await eventually(points, ({ length }) => length === 2);
    await report(endedRun(rank, tracking));
    expect((await points()).map(({ step }) => step)).toEqual([10, 20]);
  });

  it('shows also the metrics that come while others are sent, and the run ends', async () => {
    let feed: RankFeed | undefined;
    const lateUri = await spoiled('log-batch', (answer) => {
      feed?.add([{ ...LOSS, step: 2 }]);
      feed?.end();
      feed = undefined;
      answer.writeHead(200).end('{}');
    });
    const rank = tracked(lateUri);
    const tracking = await open(rank);
    feed = createMetricFeed({ variablesOf, intervalMs: 50 }).begin({ ...rank, tracking });
    feed?.add([LOSS]);
    await eventually(
      () => pointsOf(rank, 'loss'),
      ({ length }) => length === 2,
    );
  });

  it('shows metrics of a run that began while it was away, in the entry that the program has made', async () => {
    const rank = tracked();
    await mlflow.python('import mlflow\nmlflow.start_run()', variables(rank, UNOPENED.environment));
    const feed = createMetricFeed({ variablesOf, intervalMs: 50 }).begin({ ...rank, tracking: UNOPENED });
    feed?.add([LOSS]);
    await eventually(
      () => pointsOf(rank, 'loss'),
      ({ length }) => length === 1,
    );
    feed?.end();
    expect(await entriesOf(rank)).toHaveLength(1);
  });

  it('has an entry of a run that began while it was away also where the program makes none', async () => {
    const rank = { ...tracked(), tracking: UNOPENED };
    const peer = { ...rank, rank: 1 };
    const feeds = [peer, rank].map((each) => createMetricFeed({ variablesOf, intervalMs: 20 }).begin(each));
    for (const [index, feed] of feeds.entries()) feed?.add([{ ...LOSS, step: index }]);
    await eventually(
      async () => ((await entriesOf(rank)).length > 0 ? await pointsOf(rank, 'loss') : []),
      ({ length }) => length === 2,
    );
    for (const feed of feeds) feed?.end();
    await report(endedRun(rank, UNOPENED));
    expect((await entriesOf(rank)).map(({ info }) => info['status'])).toEqual(['FAILED']);
  });

  it('shows all metrics also of a run that has ended before there was an entry', async () => {
    const rank = tracked();
    const feed = createMetricFeed({ variablesOf, intervalMs: 50 }).begin({ ...rank, tracking: UNOPENED });
    feed?.add([LOSS]);
    feed?.end();
    await report(endedRun(rank, UNOPENED));
    await eventually(
      () => pointsOf(rank, 'loss'),
      (points) => points.some(({ step }) => step === LOSS.step),
    );
    expect(await entriesOf(rank)).toHaveLength(1);
  });

  it('shows metrics also of a run whose program is to have an entry of its own', async () => {
    const { spec, ...rest } = tracked();
    const rank = { ...rest, spec: { ...spec, envVariables: { MLFLOW_RUN_ID: '' } } };
    const tracking = await open(rank);
    const feed = createMetricFeed({ variablesOf, intervalMs: 50 }).begin({ ...rank, tracking });
    feed?.add([LOSS]);
    feed?.end();
    await eventually(
      () => pointsOf(rank, 'loss'),
      ({ length }) => length === 1,
    );
  });

  it('shows what a rank uses by the time since the entry began, over all resumptions', async () => {
    const rank = tracked();
    const tracking = await open(rank);
    const [entry] = await entriesOf(rank);
    const beganAt = Number(entry?.info['start_time']);
    for (const seconds of [25, 95]) {
      const feed = createMetricFeed({ variablesOf, intervalMs: 50 }).begin({ ...rank, tracking });
      feed?.add([{ name: 'system/cpu', value: seconds, at: beganAt + seconds * 1_000 }]);
      feed?.end();
    }
    const points = await eventually(
      () => pointsOf(rank, 'system/cpu'),
      ({ length }) => length === 2,
    );
    expect(points.toSorted((a, b) => a.step - b.step)).toMatchObject([
      { step: 2, value: 25 },
      { step: 9, value: 95 },
    ]);
  });

  it('has each last metric once, where it was reported, however far the run went on', async () => {
    const rank = tracked();
    const tracking = await open(rank);
    const feed = createMetricFeed({ variablesOf, intervalMs: 50 }).begin({ ...rank, tracking });
    feed?.add([{ name: 'eval', value: 0.9, step: 10, at: STARTED }]);
    feed?.end();
    await eventually(
      () => pointsOf(rank, 'eval'),
      ({ length }) => length > 0,
    );
    await report(endedRun(rank, tracking));
    expect(await pointsOf(rank, 'eval')).toMatchObject([{ step: 10 }]);
    expect(await pointsOf(rank, 'loss')).toMatchObject([{ step: 20 }]);
  });

  it('does not hold up a run when it is away, and is told at the end, in the entry that the program has made', async () => {
    const away = tracked(`http://127.0.0.1:${await freePort()}`);
    const startedAt = Date.now();
    const opened = await open(away);
    expect(Date.now() - startedAt).toBeLessThan(10_000);
    expect(opened).toMatchObject({ entries: [{ tracker: 'mlflow' }], environment: {} });
    expect(opened.entries[0]?.problem).toMatch(/^MLflow at http:\S+ does not answer: .* The run goes on/);
    await expect(report(endedRun(away, opened))).rejects.toThrow(/does not answer/);

    const back = { ...away, spec: tracked().spec };
    await mlflow.python('import mlflow\nmlflow.start_run()', variables(back, opened.environment));
    await report(endedRun(back, opened));
    expect((await entriesOf(back)).map(({ info }) => info['status'])).toEqual(['FAILED']);
  });

  it('is told of few runs at a time, so that one which never answers leaves room for everything else', async () => {
    const server = createServer(() => undefined).listen(0, '127.0.0.1');
    proxies.push(server);
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const details = endedRun(tracked(`http://127.0.0.1:${port}`), undefined);
    const { 'report-run': reportRun } = agent(details);
    const begin = (environment: ReturnType<typeof anAttempt>) =>
      environment.run(reportRun, { run: details.name });
    const refusal = { type: 'TrackerSilent', nextRetryDelay: '5s' };
    const environments = Array.from({ length: REPORTS_AT_A_TIME }, anAttempt);
    const waiting = environments.map(begin);
    await expect(begin(anAttempt())).rejects.toMatchObject(refusal);
    for (const environment of environments) environment.cancel();
    await Promise.allSettled(waiting);
    const next = anAttempt();
    const again = begin(next);
    next.cancel();
    await expect(again).rejects.not.toMatchObject(refusal);
  });

  it('says where nobody can be asked, and never tries again', async () => {
    const rank = tracked('file:/mlruns');
    const { entries } = await open(rank);
    expect(entries[0]?.problem).toContain('MLFLOW_TRACKING_URI is a place of the kind file,');
    expect(await report(endedRun(rank, undefined))).toEqual(entries);
  });

  it('is not told of a run that was deleted', async () => {
    expect(await anAttempt().run(agent()['report-run'], { run: 'gone' })).toEqual([]);
  });
});
