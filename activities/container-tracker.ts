/**
 * Weights & Biases and Comet hear of a run's end from their own libraries, in the run's own container: there they are
 * installed, and there the keys are. The GPUs wait for it, so that it has a minute at most.
 */
import type { RunDetails } from '../client/run-history.ts';
import { containerName } from '../core/naming.ts';
import type { RankRef } from '../core/naming.ts';
import { createSecretMask } from '../core/secret-mask.ts';
import type { SecretMask } from '../core/secret-mask.ts';
import type { RunReport } from '../core/tracking-report.ts';
import { trackersInContainer } from '../core/tracking.ts';
import type { Tracker, TrackerEntry } from '../core/tracking.ts';
import { whileAttached } from './attached.ts';
import { awaitExit } from './await-exit.ts';
import { READ_SECRETS } from './container-config.ts';
import { entryFiles } from './container-entry.ts';
import type { NodeActivities, RankExecution } from './contract.ts';
import type { ContainerFile, Docker } from './docker.ts';
import { foreignWords } from './foreign-words.ts';
import { reportOf } from './run-report.ts';
import {
  NO_PYTHON,
  REPORT_PATH,
  TRACKER_ANSWERS_PATH,
  TRACKER_OUTPUTS,
  TRACKER_PROGRAM,
  TRACKER_PROGRAM_PATH,
  TRACKER_SCRIPT,
} from './tracker-program.ts';

interface Dependencies {
  readonly docker: Docker;
  readonly runDetails: (run: string) => Promise<RunDetails | undefined>;
  /** What must not be seen of what the libraries say; `undefined` when nobody can tell any more. */
  readonly secretsOf: (ref: RankRef) => Promise<readonly string[] | undefined>;
  /** Resolves when the node may run what it is asked to run: as before the command itself. */
  readonly mayStart: (input: RankExecution, signal: AbortSignal) => Promise<void>;
  /** For the libraries, in milliseconds; a minute when absent. */
  readonly limitMs?: number;
}

const LIMIT_MS = 60_000;

export function createContainerTracker({
  docker,
  runDetails,
  secretsOf,
  mayStart,
  limitMs = LIMIT_MS,
}: Dependencies): Pick<NodeActivities, 'report-in-container'> {
  return {
    'report-in-container': (input) =>
      whileAttached(async (signal) => {
        const name = containerName(input);
        const trackers = trackersInContainer(input.spec);
        const [state, details] = [await docker.inspect(name), await runDetails(input.run)];
        if (state?.status !== 'exited' || details === undefined) {
          return trackers.map((tracker) => ({ tracker, problem: 'The container did not run, or is gone.' }));
        }
        await docker.putFiles(name, filesOf(reportOf(details, input.end, Date.now()), trackers));
        await mayStart(input, signal);
        signal.throwIfAborted();
        await docker.start(name);
        const exitCode = await exitCodeInTime(name, signal);
        const answers = await docker.readFile(name, TRACKER_ANSWERS_PATH);
        const silence =
          exitCode === undefined
            ? `Its library was not done within ${limitMs / 1_000} s.`
            : silenceOf(exitCode);
        const secrets = await secretsOf(input);
        const mask = secrets && createSecretMask(secrets);
        return trackers.map((tracker) => readAnswer({ tracker, answers, silence, mask }));
      }),
  };

  async function exitCodeInTime(name: string, signal: AbortSignal): Promise<number | undefined> {
    const limit = AbortSignal.timeout(limitMs);
    try {
      return (await awaitExit(docker, name, AbortSignal.any([limit, signal])))?.exitCode;
    } catch (error) {
      if (!limit.aborted) throw error;
      await docker.kill(name, 'SIGKILL');
      await awaitExit(docker, name, signal);
      return undefined;
    }
  }
}

function silenceOf(exitCode: number): string {
  if (exitCode === NO_PYTHON) return 'The image has no Python.';
  return `Its library ended with exit code ${exitCode} and without a word.`;
}

function filesOf(report: RunReport, trackers: readonly Tracker[]): ContainerFile[] {
  const { outcome, exitCode, parameters, metrics, facts, submittedYaml } = report;
  const content = JSON.stringify({
    trackers,
    parameters,
    metrics,
    facts,
    submittedYaml,
    // How their lists tell success from failure.
    exitCode: outcome === 'completed' ? 0 : exitCode || 1,
  });
  return [
    ...entryFiles(`${READ_SECRETS}${TRACKER_SCRIPT}`),
    { path: REPORT_PATH, content },
    { path: TRACKER_PROGRAM_PATH, content: TRACKER_PROGRAM },
    ...TRACKER_OUTPUTS,
  ];
}

interface Told {
  readonly tracker: Tracker;
  readonly answers: string | undefined;
  /** Why there is no answer. */
  readonly silence: string;
  /** Libraries quote what they send and get, keys too. */
  readonly mask: SecretMask | undefined;
}

function readAnswer({ tracker, answers, silence, mask }: Told): TrackerEntry {
  const all = (answers === undefined ? {} : parse(answers)) as Partial<Record<Tracker, Answer | null>>;
  const answer = all[tracker];
  if (!answer) return { tracker, problem: silence };
  const { problem, url } = answer;
  return {
    tracker,
    ...(typeof problem === 'string' && { problem: mask ? foreignWords(problem, mask) : UNMASKABLE }),
    ...(isLink(url) && mask && foreignWords(url, mask) === url && { url }),
  };
}

const UNMASKABLE =
  'What its library said is not shown, since nobody can tell the secrets of the run any more.';

function isLink(url: unknown): url is string {
  return typeof url === 'string' && /^https?:\/\/[\x21-\x7e]+$/.test(url);
}

/** As the program in the container says it, or what the run has put there. */
interface Answer {
  readonly problem?: unknown;
  readonly url?: unknown;
}

function parse(text: string): object {
  try {
    return Object(JSON.parse(text)) as object;
  } catch {
    return {};
  }
}
