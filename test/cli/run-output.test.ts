import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { RunDetails, TrackerState } from '../../client/index.ts';
import { descriptionAsJson, renderDescription } from '../../cli/output/describe.ts';
import type { ListedRun } from '../../cli/output/runs.ts';
import { renderRuns, runAsJson } from '../../cli/output/runs.ts';
import { CliContext } from '../../cli/context.ts';
import type { RunProgress } from '../../core/progress.ts';
import type { RankReport } from '../../core/rank-report.ts';
import type { Measured, RankUsage } from '../../core/usage.ts';
import { aRank } from '../support/docker.ts';

const START = Date.UTC(2026, 0, 31, 12);
/** Half an hour later, and 300 of 1,000 steps further: the rest takes 70 minutes more. */
const NOW = START + 1_800_000;
const PROGRESS: RunProgress = {
  step: 300,
  total: 1_000,
  metrics: { loss: 0.25, perplexity: null },
  links: { wandb: 'https://w.example/r' },
  since: { step: 0, at: START },
  stepAt: NOW,
};
const END = '2026-01-31T13:40:00.000Z';

describe('a list of runs', () => {
  const run: ListedRun = {
    name: 'train-abc123',
    user: 'ann',
    cluster: 'c1',
    priority: 'medium',
    gpuType: 'none',
    gpus: 0,
    nodes: 1,
    nodeNames: ['node-0'],
    metadata: { 'team/project': 'vision' },
    resumption: 0,
    status: 'RUNNING',
    reason: '',
    createdAt: new Date(START),
  };
  const lastCells = (runs: readonly ListedRun[], keys: readonly string[] = []): string[] =>
    renderRuns(runs, keys)
      .split('\n')
      .map((line) => line.split(/ {2,}/).slice(5).join('|'));

  it('shows how far a run is that tells', () => {
    expect(
      lastCells([run, { ...run, progress: PROGRESS }, { ...run, progress: { ...PROGRESS, step: 999 } }]),
    ).toEqual(['STATUS', 'Running', 'Running ■■■□□□□□□□(30%)', 'Running ■■■■■■■■■□(99%)']);
    const { total: _, ...endless } = PROGRESS;
    expect(lastCells([{ ...run, progress: endless }])[1]).toBe('Running');
  });

  it('has a column for each key of the metadata that is asked for', () => {
    expect(lastCells([run], ['team/project', 'x'])).toEqual(['STATUS|PROJECT|X', 'Running|vision|-']);
    expect(lastCells([run], ['constructor'])[1]).toBe('Running|-');
  });

  it('shows control characters of others instead of having the terminal obey them', () => {
    const metadata = { note: 'a\u001b[2J\u009b1m\nb\u202ec' };
    expect(lastCells([{ ...run, metadata }], ['note'])[1]).toBe(
      String.raw`Running|a\u001b[2J\u009b1m\nb\u202ec`,
    );
  });

  it('gives scripts numbers', () => {
    expect(runAsJson({ ...run, progress: PROGRESS })).toMatchObject({
      status: 'RUNNING',
      metadata: { 'team/project': 'vision' },
      progress: {
        step: 300,
        total: 1_000,
        fraction: 0.3,
        metrics: { loss: 0.25, perplexity: null },
        links: { wandb: 'https://w.example/r' },
        expectedEnd: END,
      },
    });
    expect(runAsJson(run)['progress']).toBeNull();
  });
});

const PARTS = { yaml: false, waiting: undefined, reports: [], live: false, trackers: [] };

describe('a description', () => {
  const { spec } = aRank('train');
  const run: RunDetails = {
    name: 'train-abc123',
    input: { spec, submittedYaml: 'name: train\n', user: 'ann', graceMs: 1 },
    scheduling: { ...spec.scheduling, maxDurationHours: 10 },
    createdAt: new Date(START),
    startedAt: new Date(START),
    status: 'RUNNING',
    reason: '',
    message: '',
    resumption: 0,
    nodes: ['node-0'],
    lifecycle: [],
    reports: [],
    trackerReports: [],
    closed: false,
    rejected: false,
  };
  const measured = (last: number): Measured => ({ last, mean: last / 2, max: last * 2 });
  const usage: RankUsage = {
    at: NOW,
    samples: 3,
    cpuPercent: measured(150),
    memoryBytes: measured(2e9),
    memoryLimitBytes: 8e9,
    gpus: [
      { gpu: 4, utilizationPercent: measured(40), memoryBytes: measured(3e9), memoryTotalBytes: 80e9 },
      { gpu: 5, utilizationPercent: measured(50), memoryBytes: measured(1e9), memoryTotalBytes: 80e9 },
    ],
  };
  const reports: RankReport[] = [
    { rank: 1, node: 'node-1', usage: { ...usage, gpus: [] } },
    { rank: 0, node: 'node-0', progress: PROGRESS, usage },
  ].sort((a, b) => a.rank - b.rank);

  it('of a running run says how far it is, when it ends and what it uses', () => {
    const text = renderDescription(run, { ...PARTS, reports, live: true }, NOW);
    expect(text).toMatch(
      /Progress +Step 300 of 1000 \(30%\)\nMetrics +loss 0.25, perplexity not a number\nLink wandb +https:\/\/w.example\/r\nExpected End +\d.*, in 1hr\n/,
    );
    expect(text).toContain(`Resource Usage
RANK  NODE    CPU                        MEMORY                                      GPU                       GPU_MEMORY
0     node-0  150% (mean 75%, max 300%)  2.0 GB (mean 1.0 GB, max 4.0 GB) of 8.0 GB  45% (mean 23%, max 100%)  2.0 GB (mean 1.0 GB, max 6.0 GB)
1     node-1  150% (mean 75%, max 300%)  2.0 GB (mean 1.0 GB, max 4.0 GB) of 8.0 GB  -                         -`);
  });

  it('has the metadata of the file apart, whatever its keys are', () => {
    const metadata = { Status: 'Completed', 'a\nb': { c: ['\u007f'] } };
    const more = { ...run, input: { ...run.input, spec: { ...spec, metadata } } };
    const text = renderDescription(more, PARTS, NOW);
    expect(text).toMatch(/\nStatus +Running\n/);
    expect(text).toContain(
      String.raw`

Metadata of the Run File
KEY     VALUE
Status  "Completed"
a\nb    {"c":["\u007f"]}`,
    );
  });

  it('names the run that submitted it', () => {
    const child = { ...run, input: { ...run.input, spec: { ...spec, parentName: 'sweep-abc123' } } };
    expect(renderDescription(child, PARTS, NOW)).toMatch(/\nParent Run +sweep-abc123\n/);
    expect(descriptionAsJson(child, PARTS)).toMatchObject({ parentName: 'sweep-abc123' });
    expect(renderDescription(run, PARTS, NOW)).not.toContain('Parent Run');
    expect(descriptionAsJson(run, PARTS)).toMatchObject({ parentName: null });
  });

  it('says what is wrong with what the run reports', () => {
    const problem = '"lr" in "metrics" is not a number.';
    const parts = { ...PARTS, reports: [{ rank: 0, node: 'n', progress: { ...PROGRESS, problem } }] };
    expect(renderDescription(run, parts, NOW)).toContain(`\nProgress File  ${problem}\n`);
    expect(descriptionAsJson(run, parts)).toMatchObject({ progress: { problem } });
    expect(descriptionAsJson(run, { ...PARTS, reports })).toMatchObject({ progress: { problem: null } });
  });

  it('of an ended run keeps the last report, without a present', () => {
    const ended = { ...run, status: 'COMPLETED', endedAt: new Date(NOW), closed: true } as const;
    const parts = { ...PARTS, reports: [reports[1] as RankReport] };
    const text = renderDescription(ended, parts, NOW);
    expect(text).not.toContain('Expected End');
    expect(text).toContain('mean 75%, max 300%  mean 1.0 GB, max 4.0 GB of 8.0 GB');
    expect(descriptionAsJson(ended, { ...parts, reports })).toMatchObject({
      expectedEnd: null,
      progress: { step: 300, expectedEnd: null },
    });
  });

  it('counts with the limit of the run, and gives scripts all numbers', () => {
    const limited = { ...run, scheduling: { ...run.scheduling, maxDurationHours: 1 } };
    const parts = { ...PARTS, reports, live: true };
    expect(descriptionAsJson(run, parts)).toMatchObject({
      expectedEnd: END,
      progress: { step: 300, expectedEnd: END },
      usage: [
        {
          rank: 0,
          node: 'node-0',
          sampledAt: '2026-01-31T12:30:00.000Z',
          samples: 3,
          cpuPercent: { last: 150, mean: 75, max: 300 },
          gpus: [{ gpu: 4, utilizationPercent: { max: 80 } }, { gpu: 5 }],
        },
        { rank: 1, gpus: [] },
      ],
    });
    expect(descriptionAsJson(limited, parts)).toMatchObject({
      expectedEnd: '2026-01-31T13:00:00.000Z',
      // As in the list of runs.
      progress: { expectedEnd: END },
    });
  });

  it('says where the run is seen in its trackers, and which of them know of its end', () => {
    const ended = { ...run, status: 'COMPLETED', endedAt: new Date(NOW), closed: true } as const;
    const trackers: TrackerState[] = [
      { tracker: 'wandb', url: 'https://w.example/r', told: true },
      { tracker: 'comet_ml', told: false, problem: 'The image has no Python.' },
      {
        tracker: 'mlflow',
        url: 'http://m/1',
        told: false,
        problem: 'It is silent.',
        nextTryAt: new Date(NOW),
      },
    ];
    const parts = { ...PARTS, trackers };
    expect(renderDescription(ended, parts, NOW)).toMatch(
      /Weights & Biases +https:\/\/w.example\/r\nComet +not told of the end of the run; The image has no Python\nMLflow +http:\/\/m\/1 \(not told of the end of the run; It is silent; told again at .*\)\n/,
    );
    expect(renderDescription(run, parts, NOW)).toMatch(/Comet +The image has no Python\n/);
    expect(descriptionAsJson(ended, parts)['trackers']).toMatchObject([
      { tracker: 'wandb', url: 'https://w.example/r', told: true, problem: null, nextTryAt: null },
      { tracker: 'comet_ml', url: null, told: false, problem: 'The image has no Python.' },
      { tracker: 'mlflow', told: false, nextTryAt: '2026-01-31T12:30:00.000Z' },
    ]);
  });
});

it('what is printed or said lets nobody command the terminal', () => {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const context = new CliContext({ stdin: new PassThrough(), stdout, stderr, interactive: false }, {});
  context.print('name: x\n\ttab \u001b]0;title\u0007');
  context.say('✗ It failed: \u001b[31mred');
  expect(String(stdout.read())).toBe('name: x\n\ttab \\u001b]0;title\\u0007\n');
  expect(String(stderr.read())).toBe('✗ It failed: \\u001b[31mred\n');
});
