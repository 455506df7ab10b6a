import { afterAll, beforeAll, expect, it } from 'vitest';
import { TestHome } from '../support/mcli.ts';
import { TestMlflow } from '../support/mlflow.ts';
import { freePort } from '../support/nats.ts';

let home: TestHome;
let mlflow: TestMlflow;
beforeAll(async () => {
  [home, mlflow] = await Promise.all([
    TestHome.up('--cpu-slots=2', '--container-network=host'),
    TestMlflow.start(),
  ]);
});
afterAll(() => Promise.all([home?.down(), mlflow?.dispose()]));

interface TrackerState {
  readonly url: string | null;
  readonly told: boolean;
  readonly problem: string | null;
}

async function stateOf(run: string): Promise<TrackerState> {
  return ((await home.describe(run))['trackers'] as [TrackerState])[0];
}

const runFile = (uri: string): string => `name: tracked
image: mcli/starter
compute: { gpus: 0 }
parameters: { lr: 0.5 }
integrations:
  - { integration_type: mlflow, experiment_name: e2e, tracking_uri: "${uri}" }
command: |
  echo '{"step": 3, "metrics": {"loss": 0.5}}' >> $MCLI_PROGRESS_FILE
  echo "joins $MLFLOW_RUN_ID"
  exit 3
`;

it('MLflow has a run with its parameters, metrics and end, where its log and its description say', async () => {
  const run = await home.submit(runFile(mlflow.url));
  await home.until(async () => (await stateOf(run)).told);
  const { url } = await stateOf(run);
  const id = url?.split('/').at(-1) ?? '';
  expect((await home.mcli('describe', 'run', run)).stdout).toMatch(new RegExp(`\\nMLflow +${url}\\n`));
  const log = (await home.mcli('logs', run)).stdout;
  expect(log).toBe(`[mcli] MLflow: ${url}\njoins ${id}\n`);

  const { run: entry } = await mlflow.ask<{ run: object }>(`runs/get?run_id=${id}`);
  expect(entry).toMatchObject({
    info: { run_name: run, status: 'FAILED' },
    data: {
      params: [{ key: 'lr', value: '0.5' }],
      metrics: expect.arrayContaining([expect.objectContaining({ key: 'loss', value: 0.5, step: 3 })]),
    },
  });
  expect(await mlflow.artifact(id, 'mcli/run.yaml')).toBe(runFile(mlflow.url));
});

it('a run goes on when its tracker is away, and says so', async () => {
  const away = `http://127.0.0.1:${await freePort()}`;
  const run = await home.submit(runFile(away));
  await home.untilStatus(run, 'FAILED');
  await home.until(async () => (await home.describe(run))['endedAt'] !== null);
  expect((await home.mcli('logs', run)).stdout).toContain(`[mcli] MLflow at ${away} does not answer`);
  await home.until(async () => (await home.mcli('describe', 'run', run)).stdout.includes('told again at'));
  expect((await home.mcli('describe', 'run', run)).stdout).toMatch(
    /\nMLflow +not told of the end of the run; MLflow at \S+ does not answer: .*; told again at /,
  );
});
