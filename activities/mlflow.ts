/**
 * MLflow by its REST API, which is stable and documented; for Node there is no client library that is kept up. Works
 * with MLflow servers and with Databricks. Every request is bounded in time, every answer in size.
 */
import type { Metric } from '../core/progress.ts';
import { createMlflowRequest } from './mlflow-request.ts';
import { MlflowError } from './mlflow-server.ts';
import type { MlflowServer } from './mlflow-server.ts';

export interface MlflowRun {
  readonly info: {
    readonly run_id: string;
    readonly experiment_id: string;
    readonly status: string;
    readonly lifecycle_stage: string;
    readonly artifact_uri?: string;
    /** Epoch milliseconds. */
    readonly start_time?: number | string;
  };
  readonly data: {
    readonly params?: readonly Entry[];
    /** The last value of each. */
    readonly metrics?: readonly { readonly key: string; readonly step?: number | string }[];
  };
}

interface Entry {
  readonly key: string;
  readonly value: string;
}

export interface Mlflow {
  /** Makes the experiment when there is none of that name. */
  experiment(name: string): Promise<string>;
  /** The run's entry, by its tag. */
  find(experimentId: string, tag: Entry): Promise<MlflowRun | undefined>;
  create(entry: {
    readonly experimentId: string;
    readonly name: string;
    readonly startTime: number;
    readonly tags: Readonly<Record<string, string>>;
  }): Promise<MlflowRun>;
  get(runId: string): Promise<MlflowRun>;
  /**
   * In as many requests as the limits of MLflow ask for. What MLflow refuses, like parameters that are there with another
   * value, is left out.
   * @returns the sentence of the first refusal
   */
  log(
    runId: string,
    what: {
      readonly metrics?: readonly Metric[];
      readonly params?: ReadonlyMap<string, string>;
      readonly tags?: Readonly<Record<string, string>>;
    },
  ): Promise<string | undefined>;
  /** @param endTime epoch milliseconds */
  setStatus(
    runId: string,
    status: 'RUNNING' | 'FINISHED' | 'FAILED' | 'KILLED',
    endTime?: number,
  ): Promise<void>;
  /** @returns false where the server takes no files. */
  upload(run: MlflowRun, path: string, content: string): Promise<boolean>;
  /** Where people see it. */
  link(run: MlflowRun): string;
}

/** @param signal ends all requests, besides `timeoutMs`, which ends each. */
export function createMlflow(server: MlflowServer, timeoutMs: number, signal?: AbortSignal): Mlflow {
  const request = createMlflowRequest(server, timeoutMs, signal);
  return {
    async experiment(name) {
      const known = await experimentNamed(name);
      if (known !== undefined) return known;
      try {
        const { experiment_id: id } = await post<{ experiment_id: string }>('experiments/create', { name });
        return id;
      } catch (error) {
        // Another run of the same experiment was faster.
        const made = isCode(error, 'RESOURCE_ALREADY_EXISTS') ? await experimentNamed(name) : undefined;
        if (made === undefined) throw error;
        return made;
      }
    },

    async find(experimentId, { key, value }) {
      const { runs = [] } = await post<{ runs?: MlflowRun[] }>('runs/search', {
        experiment_ids: [experimentId],
        filter: `tags.\`${key}\` = '${value}'`,
        // The first is the one whose link was shown.
        order_by: ['attributes.start_time ASC'],
        max_results: 1,
      });
      return runs[0];
    },

    async create({ experimentId, name, startTime, tags }) {
      const { run } = await post<{ run: MlflowRun }>('runs/create', {
        experiment_id: experimentId,
        run_name: name,
        start_time: startTime,
        // Servers of before version 2 take the name from a tag.
        tags: entries({ 'mlflow.runName': name, ...tags }),
      });
      return run;
    },

    async get(runId) {
      const query = new URLSearchParams({ run_id: runId });
      const { run } = await request<{ run: MlflowRun }>('GET', `${API}/runs/get?${query.toString()}`);
      return run;
    },

    async log(runId, { metrics = [], params = new Map<string, string>(), tags = {} }) {
      // Of names that become one, the last: MLflow refuses a second value.
      const plain = new Map([...params].map(([key, value]) => [plainKey(key), value]));
      const short = [...plain].map(([key, value]) => ({ key, value: value.slice(0, MAX_PARAM_LENGTH) }));
      const kinds = [
        { kind: 'tags', items: entries(tags), most: MAX_PARAMS },
        { kind: 'params', items: short, most: MAX_PARAMS },
        { kind: 'metrics', items: metrics.map(metricJson), most: MAX_METRICS },
      ] as const;
      let refusal: string | undefined;
      for (const { kind, items, most } of kinds) {
        const refusals: string[] = [];
        for (const batch of batches<object>(items, most)) await logTaken({ runId, kind }, batch, refusals);
        refusal ??= refusals[0];
      }
      return refusal;
    },

    async setStatus(runId, status, endTime) {
      await post('runs/update', {
        run_id: runId,
        status,
        ...(endTime !== undefined && { end_time: endTime }),
      });
    },

    async upload(run, path, content) {
      const folder = /^mlflow-artifacts:\/*(.*)$/.exec(run.info.artifact_uri ?? '')?.[1];
      // Others keep their files in a store of which only the libraries in the container know.
      if (folder === undefined) return false;
      const place = [...folder.split('/'), path].map(encodeURIComponent).join('/');
      await request('PUT', `/api/2.0/mlflow-artifacts/artifacts/${place}`, content);
      return true;
    },

    link({ info: { run_id: run, experiment_id: experiment } }) {
      const path = server.isDatabricks ? '/ml/experiments' : '/#/experiments';
      return `${server.url}${path}/${experiment}/runs/${run}`;
    },
  };

  async function experimentNamed(name: string): Promise<string | undefined> {
    const query = new URLSearchParams({ experiment_name: name });
    try {
      const path = `${API}/experiments/get-by-name?${query.toString()}`;
      const { experiment } = await request<{ experiment: Experiment }>('GET', path);
      if (experiment.lifecycle_stage !== 'deleted') return experiment.experiment_id;
    } catch (error) {
      if (isCode(error, 'RESOURCE_DOES_NOT_EXIST')) return undefined;
      throw error;
    }
    throw new MlflowError(
      `MLflow has the experiment ${name} among its deleted ones: restore it, or name another.`,
    );
  }

  /** One bad item makes MLflow refuse all of a request: it is found by halving what was refused. */
  async function logTaken(
    place: { readonly runId: string; readonly kind: 'tags' | 'params' | 'metrics' },
    items: readonly object[],
    refusals: string[],
  ): Promise<void> {
    try {
      await post('runs/log-batch', { run_id: place.runId, [place.kind]: items });
    } catch (error) {
      if (!isCode(error, 'INVALID_PARAMETER_VALUE')) throw error;
      refusals.push(error.message);
      if (items.length === 1 || refusals.length >= MAX_REFUSALS) return;
      const half = Math.ceil(items.length / 2);
      await logTaken(place, items.slice(0, half), refusals);
      await logTaken(place, items.slice(half), refusals);
    }
  }

  function post<T>(path: string, body: unknown): Promise<T> {
    return request<T>('POST', `${API}/${path}`, JSON.stringify(body));
  }
}

const API = '/api/2.0/mlflow';
/** Of one request. */
const MAX_PARAMS = 100;
const MAX_METRICS = 500;
/** Of one kind, after which no bad item is looked for any more: where all is refused, they would be thousands. */
const MAX_REFUSALS = 40;
/** Old servers take fewer, and say so. */
const MAX_PARAM_LENGTH = 6_000;
const MAX_KEY_LENGTH = 250;
interface Experiment {
  readonly experiment_id: string;
  readonly lifecycle_stage?: string;
}

function isCode(error: unknown, code: string): error is MlflowError {
  return error instanceof MlflowError && error.code === code;
}

function entries(values: Readonly<Record<string, string>>): Entry[] {
  return Object.entries(values).map(([key, value]) => ({ key, value }));
}

/** What MLflow takes as the name of a parameter or a metric: the path of a file that has one spelling. */
export function plainKey(name: string): string {
  const plain = name
    .replaceAll(/[^\w\-. :/]/g, '_')
    .replaceAll(/\/{2,}|^[/.]+/g, '_')
    .replaceAll(/(?<=\/)\.{1,2}(?=\/)/g, '_');
  return plain.slice(0, MAX_KEY_LENGTH).replace(/[/.]+$/, '_') || '_';
}

/** As MLflow keeps it: a fraction makes it drop, without a word, this metric and all after it. */
export function plainStep(step: number): number {
  return Math.min(Math.round(step), Number.MAX_SAFE_INTEGER);
}

function metricJson({ name, value, step, at }: Metric): object {
  // As protocol buffers write in JSON what is no number there.
  const number = Number.isFinite(value) ? value : String(value);
  return { key: plainKey(name), value: number, timestamp: Math.round(at), step: plainStep(step) };
}

function* batches<T>(items: readonly T[], size: number): Generator<readonly T[]> {
  for (let from = 0; from < items.length; from += size) yield items.slice(from, from + size);
}
