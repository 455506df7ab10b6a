/**
 * MLflow by its REST API, which is stable and documented; for Node there is no client library that is kept up. Works
 * with MLflow servers and with Databricks. Every request is bounded in time, every answer in size.
 */
import { createSecretMask } from '../core/secret-mask.ts';
import type { Metric } from '../core/tracking-report.ts';
import type { Variables } from '../core/tracking.ts';
import { foreignWords } from './foreign-words.ts';

export interface MlflowServer {
  /** Without a slash at its end, and without credentials. */
  readonly url: string;
  readonly authorization?: string;
  readonly isDatabricks: boolean;
}

/** The tracker cannot be used, is away, or refuses: the message is a sentence for the user. */
export class MlflowError extends Error {
  override readonly name = 'MlflowError';
  /** MLflow's own, like RESOURCE_DOES_NOT_EXIST; absent when the server did not answer as MLflow does. */
  readonly code: string | undefined;

  constructor(message: string, code?: string) {
    super(message);
    this.code = code;
  }
}

/** The variables name no server that could be asked, now or later. */
export class NoMlflowServer extends MlflowError {}

export interface MlflowRun {
  readonly info: {
    readonly run_id: string;
    readonly experiment_id: string;
    readonly status: string;
    readonly lifecycle_stage: string;
    readonly artifact_uri?: string;
    readonly end_time?: number;
  };
  readonly data: {
    readonly params?: readonly Entry[];
    readonly tags?: readonly Entry[];
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

/** @throws NoMlflowServer */
export function mlflowServer(variables: Variables): MlflowServer {
  const uri = variables['MLFLOW_TRACKING_URI'] ?? '';
  if (uri === 'databricks') return databricks(variables);
  const parsed = httpUrl(uri);
  if (parsed === undefined) {
    // The whole may hold a password.
    const kind = uri === '' ? 'is not set' : `is a place of the kind ${uri.replace(/:.*/, '')}`;
    throw new NoMlflowServer(
      `MLflow cannot be told of the run: MLFLOW_TRACKING_URI ${kind}, and only http addresses and \`databricks\` can be reached from outside of the container.`,
    );
  }
  const user = variables['MLFLOW_TRACKING_USERNAME'] || decodeURIComponent(parsed.username);
  const password = variables['MLFLOW_TRACKING_PASSWORD'] || decodeURIComponent(parsed.password);
  const token = variables['MLFLOW_TRACKING_TOKEN'];
  const authorization = user
    ? `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
    : token && bearer('MLFLOW_TRACKING_TOKEN', token);
  return { url: withoutCredentials(parsed), isDatabricks: false, ...(authorization && { authorization }) };
}

function databricks({ DATABRICKS_HOST: host, DATABRICKS_TOKEN: token }: Variables): MlflowServer {
  if (!host || !token) {
    throw new MlflowError(
      'MLflow cannot be told of the run: its tracking_uri is `databricks`, and there is no DATABRICKS_HOST with a DATABRICKS_TOKEN: `mcli create secret databricks` gives both to all later runs.',
    );
  }
  const parsed = httpUrl(host.includes('://') ? host : `https://${host}`);
  if (parsed === undefined || parsed.username || parsed.password) {
    throw new MlflowError(
      'MLflow cannot be told of the run: DATABRICKS_HOST is no plain address, like https://dbc-1234.cloud.databricks.com. What lets in is the DATABRICKS_TOKEN.',
    );
  }
  return {
    url: withoutCredentials(parsed),
    authorization: bearer('DATABRICKS_TOKEN', token),
    isDatabricks: true,
  };
}

function httpUrl(text: string): URL | undefined {
  const parsed = URL.canParse(text) ? new URL(text) : undefined;
  return parsed?.protocol === 'http:' || parsed?.protocol === 'https:' ? parsed : undefined;
}

function withoutCredentials({ origin, pathname }: URL): string {
  return `${origin}${pathname}`.replace(/\/+$/, '');
}

/** Whoever makes the request would refuse it, too, and quote it. */
function bearer(variable: string, value: string): string {
  const token = value.trim();
  if (!/^[\x20-\x7e]+$/.test(token)) {
    throw new MlflowError(
      `MLflow cannot be told of the run: ${variable} is no token, since it is empty or has line breaks or characters that are not ASCII. Create the secret again.`,
    );
  }
  return `Bearer ${token}`;
}

/** @param signal ends all requests, besides `timeoutMs`, which ends each. */
export function createMlflow(server: MlflowServer, timeoutMs: number, signal?: AbortSignal): Mlflow {
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
      const refusals: string[] = [];
      for (const { kind, items, most } of kinds) {
        for (const batch of batches<object>(items, most)) await logTaken({ runId, kind }, batch, refusals);
      }
      return refusals[0];
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
      if (items.length === 1 || refusals.length >= MAX_REFUSALS) {
        refusals.push(error.message);
        return;
      }
      const half = Math.ceil(items.length / 2);
      await logTaken(place, items.slice(0, half), refusals);
      await logTaken(place, items.slice(half), refusals);
    }
  }

  function post<T>(path: string, body: unknown): Promise<T> {
    return request<T>('POST', `${API}/${path}`, JSON.stringify(body));
  }

  async function request<T>(method: 'GET' | 'POST' | 'PUT', path: string, body?: string): Promise<T> {
    const limit = AbortSignal.timeout(timeoutMs);
    let answer: Answer;
    try {
      const response = await fetch(`${server.url}${path}`, {
        method,
        ...(body !== undefined && { body }),
        headers: {
          ...(method === 'POST' && { 'content-type': 'application/json' }),
          ...(method === 'PUT' && { 'content-type': 'text/plain' }),
          ...(server.authorization !== undefined && { authorization: server.authorization }),
        },
        // Credentials stay with the address that the user has named.
        redirect: 'manual',
        signal: signal ? AbortSignal.any([limit, signal]) : limit,
      });
      answer = { status: response.status, text: await readBounded(response) };
    } catch (error) {
      if (error instanceof MlflowError) throw error;
      throw new MlflowError(`MLflow at ${server.url} does not answer: ${silence(error, timeoutMs)}.`);
    }
    const isMlflow = answer.status >= 200 && answer.status < 300 && parse(answer.text) !== undefined;
    if (!isMlflow) throw refusal(server, answer);
    return parse(answer.text) as T;
  }
}

const API = '/api/2.0/mlflow';
/** Of one request. */
const MAX_PARAMS = 100;
const MAX_METRICS = 500;
/** Of one call, after which no bad item is looked for any more: where all is refused, they would be thousands. */
const MAX_REFUSALS = 20;
/** Old servers take fewer, and say so. */
const MAX_PARAM_LENGTH = 6_000;
const MAX_KEY_LENGTH = 250;
/** Of a run with thousands of metrics and parameters. */
const MAX_ANSWER_BYTES = 16 * 1024 ** 2;

interface Experiment {
  readonly experiment_id: string;
  readonly lifecycle_stage?: string;
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

interface Refusal {
  readonly error_code?: unknown;
  readonly message?: unknown;
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

async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > MAX_ANSWER_BYTES)
      throw new MlflowError(`MLflow's answer is longer than ${MAX_ANSWER_BYTES} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Undefined where MLflow's would be: a page for people, as of a log-in. */
function parse(text: string): object | undefined {
  try {
    return Object(JSON.parse(text)) as object;
  } catch {
    return undefined;
  }
}

/** Errors of the network come as a cause. What `fetch` itself says quotes what it refuses, credentials too. */
function silence(error: unknown, timeoutMs: number): string {
  if (error instanceof DOMException && error.name === 'TimeoutError')
    return `not within ${timeoutMs / 1_000} s`;
  const cause = error instanceof Error ? error.cause : undefined;
  if (!(cause instanceof Error)) return 'the request was not sent, or was given up';
  // Of a host with several addresses, none of which answers, there is only the code.
  return cause.message || (cause as NodeJS.ErrnoException).code || cause.name;
}

/** Only what MLflow itself says is quoted: an address that is no MLflow may answer with anything. */
function refusal(server: MlflowServer, { status, text }: Answer): MlflowError {
  const { url } = server;
  const { error_code: code, message } = (parse(text) ?? {}) as Refusal;
  const isMlflow = typeof code === 'string';
  if (status === 401 || status === 403) {
    return new MlflowError(
      `MLflow at ${url} refuses the credentials (${status}): are MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, right?`,
      isMlflow ? code : undefined,
    );
  }
  if (!isMlflow) return new MlflowError(`What answers at ${url} is no MLflow server (HTTP ${status}).`);
  const [said] = typeof message === 'string' ? message.split('\n') : [];
  const words = foreignWords(said || code, createSecretMask(credentialsOf(server)));
  return new MlflowError(`MLflow at ${url} refuses: ${words}`, code);
}

/** All that a server knows from us and must not be seen: a token, or the password of a user. */
function credentialsOf({ authorization = '' }: MlflowServer): string[] {
  const [scheme, value = ''] = authorization.split(' ', 2);
  if (scheme !== 'Basic') return [value];
  return [Buffer.from(value, 'base64').toString().replace(/^.*?:/s, '')];
}
