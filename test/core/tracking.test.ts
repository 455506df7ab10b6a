import { describe, expect, it } from 'vitest';
import type { Integration } from '../../core/run-spec.ts';
import { readParameters } from '../../core/run-parameters.ts';
import { flattenParameters, lastMetrics } from '../../core/tracking-report.ts';
import {
  cometKey,
  entryLink,
  missingKey,
  ownVariables,
  trackerDefaults,
  trackerEnvironment,
  trackersOf,
} from '../../core/tracking.ts';
import { aRank } from '../support/docker.ts';

const spec = (...integrations: Integration[]) => aRank('true', { integrations }).spec;

describe('the variables of trackers', () => {
  const all = spec(
    { type: 'wandb', environment: { WANDB_PROJECT: 'p', WANDB_NAME: 'mine' } },
    { type: 'comet_ml', environment: {} },
    { type: 'mlflow', environment: { MLFLOW_EXPERIMENT_NAME: 'e' } },
    { type: 'pip_packages', packages: ['x'], upgrade: false },
  );

  it('name one entry for everything that rank 0 logs, and the tracker of each', () => {
    expect(trackersOf(all)).toEqual(['wandb', 'comet_ml', 'mlflow']);
    expect(trackerEnvironment('run-1', 0, all)).toEqual({
      WANDB_NAME: 'mine',
      WANDB_RUN_ID: 'run-1',
      WANDB_RESUME: 'allow',
      WANDB_PROJECT: 'p',
      COMET_START_EXPERIMENT_NAME: 'run-1',
      COMET_EXPERIMENT_KEY: 'run10000000000000000000000000000',
      MLFLOW_RUN_CONTEXT: '{"mcli.run":"run-1"}',
      MLFLOW_EXPERIMENT_NAME: 'e',
    });
  });

  it("are the run file's own, except for what is only assumed", () => {
    const asked = spec({ type: 'mlflow', environment: { MLFLOW_TRACKING_URI: 'http://m' } });
    expect(ownVariables({ ...asked, envVariables: { A: 'b' } })).toEqual({
      MLFLOW_TRACKING_URI: 'http://m',
      A: 'b',
    });
    expect(trackerDefaults(asked)).toEqual({ MLFLOW_TRACKING_URI: 'databricks' });
    expect(trackerDefaults(spec())).toEqual({});
  });

  it('let other ranks have entries of their own where two writers would spoil one', () => {
    const { WANDB_RUN_ID: id, COMET_EXPERIMENT_KEY: key } = trackerEnvironment('run-1', 1, all);
    expect([id, key]).toEqual([undefined, undefined]);
  });

  it('name keys that Comet takes, also for the longest names', () => {
    expect(cometKey(`${'a-'.repeat(28)}-abc123`)).toMatch(/^[a-z0-9]{32,50}$/);
    expect(cometKey(`${'a'.repeat(56)}-abc123`)).toMatch(/^a{44}abc123$/);
  });
});

describe('links to entries', () => {
  const wandb = { WANDB_ENTITY: 'my team', WANDB_PROJECT: 'p', WANDB_RUN_ID: 'r' };

  it('are known beforehand where the variables say enough', () => {
    expect(entryLink('wandb', wandb)).toBe('https://wandb.ai/my%20team/p/runs/r');
    const own = { ...wandb, WANDB_BASE_URL: 'https://wandb.example/' };
    expect(entryLink('wandb', own)).toBe('https://wandb.example/my%20team/p/runs/r');
    const withPassword = { ...wandb, WANDB_BASE_URL: 'https://ann:p@ss@wandb.example/base/' };
    expect(entryLink('wandb', withPassword)).toBe('https://wandb.example/base/my%20team/p/runs/r');
    const comet = { COMET_WORKSPACE: 'w', COMET_PROJECT_NAME: 'p', COMET_EXPERIMENT_KEY: 'k' };
    expect(entryLink('comet_ml', comet)).toBe('https://www.comet.com/w/p/k');
  });

  it('are not promised of runs that stay offline, or whose team is not known', () => {
    expect(entryLink('wandb', { ...wandb, WANDB_MODE: 'offline' })).toBeUndefined();
    expect(entryLink('wandb', { ...wandb, WANDB_ENTITY: '' })).toBeUndefined();
  });
});

it('a key that nobody but the image can bring is named with the command that does', () => {
  expect(missingKey('wandb', {})).toBe(
    'Neither a secret nor the run file sets WANDB_API_KEY for Weights & Biases: unless the image does, `mcli create secret wandb` gives it to all later runs.',
  );
  expect(missingKey('comet_ml', {})).toContain('COMET_API_KEY');
  expect(missingKey('wandb', { WANDB_MODE: 'offline' })).toBeUndefined();
  expect(missingKey('comet_ml', { COMET_API_KEY: 'k' })).toBeUndefined();
});

describe('a report', () => {
  it('has parameters by their path, with lists as they are', () => {
    const parameters = readParameters(
      'lr: 1.0e-4\nmodel: {layers: [1, {a: b}], empty: {}, none: }\nname: x\n',
    );
    expect(Object.fromEntries(flattenParameters(parameters ?? null))).toEqual({
      lr: '0.0001',
      'model.layers': '[1,{"a":"b"}]',
      'model.empty': '{}',
      'model.none': 'null',
      name: 'x',
    });
    expect(flattenParameters(readParameters('{}\n') ?? null).size).toBe(0);
  });

  it('has the last metrics of the rank that counts steps, each where it was reported', () => {
    // Agents of before say nothing of the place.
    const measured = { loss: { step: 3, at: 2 } };
    const progress = { step: 7, stepAt: 5, metrics: { loss: 0.5, bad: null }, links: {}, measured };
    expect(
      lastMetrics([
        { rank: 1, node: 'n', progress: { metrics: { other: 1 }, links: {} } },
        { rank: 0, node: 'n', progress },
      ]),
    ).toEqual([
      { name: 'loss', value: 0.5, step: 3, at: 2 },
      { name: 'bad', value: Number.NaN, step: 7, at: 5 },
    ]);
  });
});
