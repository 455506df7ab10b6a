/**
 * Experiment trackers of a run: what their libraries are told, so that everything that is said of one run lands in one
 * entry, and where that entry is seen. Workflow code imports this; `tracking-report.ts` says what is reported.
 */
import type { RunOutcome } from './run.ts';
import type { RunSpec, TrackerIntegration } from './run-spec.ts';

export type Tracker = TrackerIntegration['type'];

export const TRACKER_NAMES = {
  mlflow: 'MLflow',
  wandb: 'Weights & Biases',
  comet_ml: 'Comet',
} as const satisfies Record<Tracker, string>;

/** What is known of a run's entry in one tracker. */
export interface TrackerEntry {
  readonly tracker: Tracker;
  /** Where people see it. */
  readonly url?: string;
  /** What did not work, as a sentence. */
  readonly problem?: string;
}

/** What came of asking the trackers of a resumption at its start. */
export interface OpenedTrackers {
  /** One for each tracker. */
  readonly entries: readonly TrackerEntry[];
  /** For the containers of all ranks. */
  readonly environment: Readonly<Record<string, string>>;
}

/** How a run ends, before it has written that down. */
export interface RunEnd extends Pick<RunOutcome, 'status' | 'message' | 'exitCode'> {
  /** One word; empty when there is nothing to explain. */
  readonly reason: string;
}

/** By this tag a run's entry is found again. */
export const RUN_TAG = 'mcli.run';

/**
 * A tracker that could not be asked at the start of a resumption still has the entry that it gave to an earlier one: the
 * program joins that, instead of making another.
 */
export function withEarlierEntries(opened: OpenedTrackers, earlier?: OpenedTrackers): OpenedTrackers {
  if (earlier === undefined) return opened;
  const entries = opened.entries.map((entry) => {
    const known = earlier.entries.find(({ tracker }) => tracker === entry.tracker);
    return entry.problem !== undefined && known?.url !== undefined ? { ...entry, url: known.url } : entry;
  });
  return { entries, environment: { ...earlier.environment, ...opened.environment } };
}

/** Each once, in the order of the file. */
export function trackersOf({ integrations }: RunSpec): Tracker[] {
  return [...new Set(integrations.flatMap((each) => ('environment' in each ? [each.type] : [])))];
}

/** Those whose own library reports, in the container: their servers have no interface that is meant for others. */
export function trackersInContainer(spec: RunSpec): Tracker[] {
  return trackersOf(spec).filter((tracker) => tracker !== 'mlflow');
}

/**
 * The variables that need no answer of a tracker. Several programs may write to one entry of MLflow, but not of the
 * others: there only rank 0 is named the entry of the run.
 */
export function trackerEnvironment(run: string, rank: number, spec: RunSpec): Record<string, string> {
  const result: Record<string, string> = {};
  for (const integration of spec.integrations) {
    if (!('environment' in integration)) continue;
    Object.assign(result, entryVariables(integration.type, run, rank === 0), integration.environment);
  }
  return result;
}

/** Where everybody else may say otherwise: the node, for its site, and a secret. */
export function trackerDefaults(spec: RunSpec): Record<string, string> {
  return trackersOf(spec).includes('mlflow') ? { MLFLOW_TRACKING_URI: 'databricks' } : {};
}

/** What a run file itself sets: no secret overrides it. */
export function ownVariables({ integrations, envVariables }: RunSpec): Record<string, string> {
  const trackers = integrations.map((each) => ('environment' in each ? each.environment : {}));
  return Object.assign({}, ...trackers, envVariables) as Record<string, string>;
}

function entryVariables(tracker: Tracker, run: string, writesEntry: boolean): Record<string, string> {
  switch (tracker) {
    case 'mlflow':
      // Tags of every entry that a program makes by itself, when it was not told of one: so it is found, too.
      return { MLFLOW_RUN_CONTEXT: JSON.stringify({ [RUN_TAG]: run }) };
    case 'wandb':
      return { WANDB_NAME: run, ...(writesEntry && { WANDB_RUN_ID: run, WANDB_RESUME: 'allow' }) };
    case 'comet_ml':
      return {
        COMET_START_EXPERIMENT_NAME: run,
        ...(writesEntry && { COMET_EXPERIMENT_KEY: cometKey(run) }),
      };
  }
}

/** Comet wants 32 to 50 letters and digits; the end of a run's name is what tells it from others. */
export function cometKey(run: string): string {
  return run.replaceAll('-', '').slice(-COMET_KEY_MAX).padEnd(COMET_KEY_MIN, '0');
}

const COMET_KEY_MIN = 32;
const COMET_KEY_MAX = 50;

export type Variables = Readonly<Partial<Record<string, string>>>;

/**
 * Where the entry will be seen, if the variables say so: of Weights & Biases and Comet, whose entries are named
 * beforehand.
 * @param variables of rank 0, as its program sees them
 */
export function entryLink(tracker: Tracker, variables: Variables): string | undefined {
  if (isOffline(tracker, variables)) return undefined;
  switch (tracker) {
    case 'mlflow':
      return undefined;
    case 'wandb': {
      const { WANDB_ENTITY, WANDB_PROJECT, WANDB_RUN_ID, WANDB_BASE_URL } = variables;
      const host = (WANDB_BASE_URL || 'https://wandb.ai').replace('://api.wandb.ai', '://wandb.ai');
      return link(host, WANDB_ENTITY, WANDB_PROJECT, 'runs', WANDB_RUN_ID);
    }
    case 'comet_ml': {
      const { COMET_WORKSPACE, COMET_PROJECT_NAME, COMET_EXPERIMENT_KEY, COMET_URL_OVERRIDE } = variables;
      const host = (COMET_URL_OVERRIDE || 'https://www.comet.com').replace(/\/clientlib\/?$/, '');
      return link(host, COMET_WORKSPACE, COMET_PROJECT_NAME, COMET_EXPERIMENT_KEY);
    }
  }
}

/** A sentence when Weights & Biases or Comet may let nobody in: what the image itself has is not known here. */
export function missingKey(tracker: Tracker, variables: Variables): string | undefined {
  const variable = API_KEYS[tracker];
  if (variable === undefined || variables[variable] || isOffline(tracker, variables)) return undefined;
  const secret = tracker === 'wandb' ? 'wandb' : 'env';
  return `Neither a secret nor the run file sets ${variable} for ${TRACKER_NAMES[tracker]}: unless the image does, \`mcli create secret ${secret}\` gives it to all later runs.`;
}

const API_KEYS: Partial<Record<Tracker, string>> = { wandb: 'WANDB_API_KEY', comet_ml: 'COMET_API_KEY' };

/** Their libraries then write files only. */
function isOffline(tracker: Tracker, { WANDB_MODE, COMET_START_ONLINE }: Variables): boolean {
  if (tracker === 'wandb') return ['offline', 'dryrun', 'disabled'].includes(WANDB_MODE ?? '');
  return tracker === 'comet_ml' && ['false', '0', 'no'].includes((COMET_START_ONLINE ?? '').toLowerCase());
}

/** Undefined when a part of the path is not known. */
function link(host: string, ...path: readonly (string | undefined)[]): string | undefined {
  if (path.some((part) => !part)) return undefined;
  // Who sees the link is not let in by it.
  const address = host.replace(/^([a-z]+:\/\/)[^/]*@/i, '$1').replace(/\/+$/, '');
  return [address, ...path.map((part) => encodeURIComponent(part ?? ''))].join('/');
}
