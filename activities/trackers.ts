/**
 * Tells trackers of a run: MLflow from here, by its API. A tracker that is down or refuses never fails a run; at the
 * start it delays it by seconds at most, and at the end it is told again and again, when the run itself is over.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { ApplicationFailure, cancellationSignal } from '@temporalio/activity';
import type { ApplicationFailureOptions } from '@temporalio/common';
import type { RunDetails } from '../client/run-history.ts';
import { createSecretMask } from '../core/secret-mask.ts';
import type { SecretMask } from '../core/secret-mask.ts';
import { flattenParameters } from '../core/tracking-report.ts';
import type { RunReport } from '../core/tracking-report.ts';
import { entryLink, missingKey, RUN_TAG, TRACKER_NAMES, trackersOf } from '../core/tracking.ts';
import type { Tracker, TrackerEntry, Variables } from '../core/tracking.ts';
import type { NodeActivities, RankExecution } from './contract.ts';
import { createMlflow, plainKey, plainStep } from './mlflow.ts';
import type { Mlflow, MlflowRun } from './mlflow.ts';
import { entryOf, startedEntry, withEntry } from './mlflow-entry.ts';
import { MlflowError, mlflowServer, NoMlflowServer } from './mlflow-server.ts';
import { reportOf } from './run-report.ts';
import type { TrackerVariables } from './tracker-variables.ts';

interface Dependencies {
  /** Undefined when there is no such run (any more). */
  readonly runDetails: (run: string) => Promise<RunDetails | undefined>;
  readonly variablesOf: TrackerVariables;
  /** What a link must not show, since it goes into the history: texts of the user's secrets. */
  readonly secretsOf?: (user: string, signal: AbortSignal) => Promise<readonly string[]>;
}

type TrackerActivities = Pick<NodeActivities, 'open-trackers' | 'report-run'>;

/** A run waits for it, at most. */
const OPEN_MS = 8_000;
const OPEN_REQUEST_MS = 4_000;
/** Nobody waits. */
const REPORT_MS = 90_000;
const REPORT_REQUEST_MS = 20_000;
const END_MS = 10_000;
const END_LOOK_MS = 100;
/** A tracker that never answers keeps the agent busy with each run that has ended; these have room beside everything else. */
export const REPORTS_AT_A_TIME = 4;
const BUSY_PAUSE = '5s';

export function createTrackerActivities({
  runDetails,
  variablesOf,
  secretsOf = async () => [],
}: Dependencies): TrackerActivities {
  let reports = 0;
  return {
    async 'open-trackers'(input) {
      const trackers = trackersOf(input.spec);
      const signal = AbortSignal.any([AbortSignal.timeout(OPEN_MS), cancellationSignal()]);
      let variables: Variables;
      let mask: SecretMask;
      try {
        variables = await variablesOf(input, signal);
        const isNamed = trackers.some((tracker) => tracker !== 'mlflow');
        mask = createSecretMask(isNamed ? await secretsOf(input.user, signal) : []);
      } catch (error) {
        const problem = sayAtStart(error);
        return { entries: trackers.map((tracker) => ({ tracker, problem })), environment: {} };
      }
      const entries = trackers
        .filter((tracker) => tracker !== 'mlflow')
        .map((tracker) => namedEntry(tracker, variables, mask));
      if (!trackers.includes('mlflow')) return { entries, environment: {} };
      try {
        const { runId, url } = await openMlflow(input, variables, signal);
        return { entries: [...entries, { tracker: 'mlflow', url }], environment: { MLFLOW_RUN_ID: runId } };
      } catch (error) {
        return { entries: [...entries, { tracker: 'mlflow', problem: sayAtStart(error) }], environment: {} };
      }
    },

    async 'report-run'({ run }) {
      if (reports >= REPORTS_AT_A_TIME) {
        throw notYet(`${reports} other runs are being reported.`, { nextRetryDelay: BUSY_PAUSE });
      }
      reports += 1;
      try {
        return await reportRun(run);
      } finally {
        reports -= 1;
      }
    },
  };

  async function reportRun(run: string): Promise<readonly TrackerEntry[]> {
    const details = await endedRun(run);
    // Somebody has deleted it: who does not want it in the list does not want it reported.
    if (details === undefined) return [];
    if (!details.closed) throw notYet(`Run ${run} has not written down its end yet.`);
    const { spec, user } = details.input;
    const signal = AbortSignal.any([AbortSignal.timeout(REPORT_MS), cancellationSignal()]);
    try {
      const variables = await variablesOf({ run, spec, user }, signal);
      const report = reportOf(details, undefined, Date.now());
      const opened = details.trackers?.environment['MLFLOW_RUN_ID'];
      const url = await reportToMlflow(report, variables, opened, signal);
      return [{ tracker: 'mlflow', url }];
    } catch (error) {
      if (error instanceof NoMlflowServer) return [{ tracker: 'mlflow', problem: error.message }];
      const message = error instanceof Error ? error.message : String(error);
      throw notYet(message, error instanceof Error ? { cause: error } : {});
    }
  }

  /** The report is the last act of a run but one: it is over within moments. */
  async function endedRun(run: string): Promise<RunDetails | undefined> {
    const deadline = Date.now() + END_MS;
    for (;;) {
      const details = await runDetails(run);
      if (details === undefined || details.closed || Date.now() > deadline) return details;
      await sleep(END_LOOK_MS);
    }
  }
}

/** The entry of a tracker that lets its clients name entries: nobody has to be asked. */
function namedEntry(tracker: Tracker, variables: Variables, mask: SecretMask): TrackerEntry {
  const link = entryLink(tracker, variables);
  const url = link === undefined || mask.isIn(link) ? undefined : link;
  const problem = missingKey(tracker, variables);
  return { tracker, ...(url !== undefined && { url }), ...(problem !== undefined && { problem }) };
}

/** The entry of the run: found, when an earlier resumption has made it, else made. */
async function openMlflow(
  input: RankExecution,
  variables: Variables,
  signal: AbortSignal,
): Promise<{ readonly runId: string; readonly url: string }> {
  const mlflow = createMlflow(mlflowServer(variables), OPEN_REQUEST_MS, signal);
  const entry = await entryOf(mlflow, variables, startedEntry(input, Date.now()));
  const runId = entry.info.run_id;
  // What an earlier resumption has ended goes on.
  if (entry.info.status !== 'RUNNING') await mlflow.setStatus(runId, 'RUNNING');
  return { runId, url: mlflow.link(entry) };
}

/**
 * Safe to repeat. Parameters come last in a run's life, and only those that are not there: MLflow lets nobody change
 * one, so that a program that logs its own after us would fail.
 * @param opened the entry that the run was told of; it may have made another before, or none
 */
async function reportToMlflow(
  report: RunReport,
  variables: Variables,
  opened: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  const mlflow = createMlflow(mlflowServer(variables), REPORT_REQUEST_MS, signal);
  const found = await entryOf(mlflow, withEntry(variables, opened), {
    run: report.run,
    startTime: report.startedAt ?? report.endedAt,
    tags: { [RUN_TAG]: report.run, 'mlflow.user': report.facts['user'] ?? '' },
  });
  const entry = await mlflow.get(found.info.run_id);
  // Somebody has thrown it away.
  if (entry.info.lifecycle_stage === 'deleted') return mlflow.link(entry);
  const runId = entry.info.run_id;
  // First: whatever MLflow has against the rest, nobody is to see the run going on for ever.
  await mlflow.setStatus(runId, MLFLOW_STATUSES[report.outcome], report.endedAt);
  const parameters = [...flattenParameters(report.parameters)];
  const refusal = await mlflow.log(runId, {
    tags: await tagsOf(report, mlflow, entry),
    params: missingParameters(parameters.slice(0, MAX_PARAMETERS), entry),
    metrics: missingMetrics(report, entry),
  });
  const more = parameters.length - MAX_PARAMETERS;
  const leftOut = more > 0 ? `${more} of ${parameters.length} parameters are only in ${YAML_FILE}.` : refusal;
  // Where those look who miss something.
  if (leftOut !== undefined) await mlflow.log(runId, { tags: { [REFUSED_TAG]: leftOut } });
  return mlflow.link(entry);
}

const REFUSED_TAG = 'mcli.refused';
/** MLflow takes 100 in a request, and the report has to come to an end. */
const MAX_PARAMETERS = 2_000;
const MLFLOW_STATUSES = { completed: 'FINISHED', failed: 'FAILED', stopped: 'KILLED' } as const;

async function tagsOf(report: RunReport, mlflow: Mlflow, entry: MlflowRun): Promise<Record<string, string>> {
  const facts = Object.entries(report.facts).filter(([, value]) => value !== '');
  return {
    ...Object.fromEntries(facts.map(([name, value]) => [plainKey(`mcli.${name}`), value])),
    ...(await submittedYaml(report, mlflow, entry)),
    [RUN_TAG]: report.run,
  };
}

/** As a file where the server takes files, else in tags, which are short: in as many as it needs. */
async function submittedYaml(
  { submittedYaml: yaml }: RunReport,
  mlflow: Mlflow,
  entry: MlflowRun,
): Promise<Record<string, string>> {
  try {
    if (await mlflow.upload(entry, YAML_FILE, yaml)) return {};
  } catch (error) {
    // A server may refuse files, and take everything else.
    if (!(error instanceof MlflowError)) throw error;
  }
  const parts = yaml.match(YAML_PARTS) ?? [];
  return Object.fromEntries(parts.map((part, index) => [`mcli.submitted_yaml.${index}`, part]));
}

const YAML_FILE = 'mcli/run.yaml';
/** The tags of old servers are this long. */
const YAML_PARTS = /[^]{1,5000}/g;

function missingParameters(
  parameters: readonly (readonly [name: string, value: string])[],
  { data }: MlflowRun,
): ReadonlyMap<string, string> {
  const there = new Set(data.params?.map(({ key }) => key));
  return new Map(parameters.filter(([name]) => !there.has(plainKey(name))));
}

/** What the run has logged itself, or was logged while it ran, is not repeated. */
function missingMetrics({ metrics, endedAt }: RunReport, { data }: MlflowRun): RunReport['metrics'] {
  const steps = new Map(data.metrics?.map(({ key, step }) => [key, Number(step ?? 0)]));
  return metrics
    .filter(({ name, step }) => (steps.get(plainKey(name)) ?? -1) < plainStep(step))
    .map((metric) => ({ ...metric, at: metric.at || endedAt }));
}

function sayAtStart(error: unknown): string {
  const said =
    error instanceof Error && error.name !== 'AbortError' && error.name !== 'TimeoutError'
      ? error.message
      : `The trackers were not reached within ${OPEN_MS / 1_000} s.`;
  return error instanceof NoMlflowServer
    ? said
    : `${said} The run goes on; ${TRACKER_NAMES.mlflow} is told of it later.`;
}

/** Temporal repeats it, ever more slowly; the message is what people see of the delay. */
function notYet(
  message: string,
  more: Pick<ApplicationFailureOptions, 'cause' | 'nextRetryDelay'> = {},
): ApplicationFailure {
  return ApplicationFailure.create({ type: 'TrackerSilent', message, ...more });
}
