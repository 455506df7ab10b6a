/** The one entry that a run has in MLflow, over all its resumptions: found by its tag, or made. */
import { RUN_TAG } from '../core/tracking.ts';
import type { Variables } from '../core/tracking.ts';
import type { RankExecution } from './contract.ts';
import type { Mlflow, MlflowRun } from './mlflow.ts';
import { MlflowError } from './mlflow-server.ts';

interface WantedEntry {
  readonly run: string;
  /** Epoch milliseconds. */
  readonly startTime: number;
  readonly tags: Readonly<Record<string, string>>;
}

/** What is known of a run while it goes on. */
export function startedEntry({ run, user, cluster, spec }: RankExecution, startTime: number): WantedEntry {
  return {
    run,
    startTime,
    tags: {
      [RUN_TAG]: run,
      'mlflow.user': user,
      'mlflow.source.name': spec.image,
      'mlflow.note.content': `Run \`${run}\` on ${cluster}. Logs: \`mcli logs ${run}\``,
    },
  };
}

/** What a program is told of the entry; one that names its entry itself is not in what was opened. */
export function withEntry(variables: Variables, opened: string | undefined): Variables {
  const runId = variables['MLFLOW_RUN_ID'] || opened;
  return { ...variables, ...(runId && { MLFLOW_RUN_ID: runId }) };
}

export async function entryOf(mlflow: Mlflow, variables: Variables, wanted: WantedEntry): Promise<MlflowRun> {
  const given = variables['MLFLOW_RUN_ID'];
  if (given) return await mlflow.get(given);
  const experimentId = await experimentOf(mlflow, variables);
  const { run: name, startTime, tags } = wanted;
  const find = (): Promise<MlflowRun | undefined> => mlflow.find(experimentId, { key: RUN_TAG, value: name });
  const found = await find();
  if (found !== undefined) return found;
  try {
    return await mlflow.create({ experimentId, name, startTime, tags });
  } catch (error) {
    // Its answer may be lost, and the entry be there: a program that is not told of it makes a second.
    const isRefused = error instanceof MlflowError && error.code !== undefined;
    const made = isRefused ? undefined : await find().catch(() => undefined);
    if (made === undefined) throw error;
    return made;
  }
}

/** Undefined when there is none. */
export async function findEntry(
  mlflow: Mlflow,
  variables: Variables,
  run: string,
): Promise<MlflowRun | undefined> {
  const given = variables['MLFLOW_RUN_ID'];
  if (given) return await mlflow.get(given);
  return await mlflow.find(await experimentOf(mlflow, variables), { key: RUN_TAG, value: run });
}

async function experimentOf(mlflow: Mlflow, variables: Variables): Promise<string> {
  const id = variables['MLFLOW_EXPERIMENT_ID'];
  return id || (await mlflow.experiment(variables['MLFLOW_EXPERIMENT_NAME'] || DEFAULT_EXPERIMENT));
}

const DEFAULT_EXPERIMENT = 'Default';
