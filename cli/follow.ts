/** Follows a run to its end: what happens to it on stderr, its logs on stdout. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { PullProgress } from '../activities/contract.ts';
import type { RunDetails } from '../client/index.ts';
import { failureClass } from '../core/failures.ts';
import { isTerminal } from '../core/run-status.ts';
import type { CliContext, Mcli } from './context.ts';
import { EXIT, problemsOf, renderProblem } from './errors.ts';
import { LogWriter } from './output/log-writer.ts';
import { statusWithReason } from './output/runs.ts';
import { startSpinner } from './output/spinner.ts';
import type { Spinner } from './output/spinner.ts';
import { displayBytes } from './output/time.ts';
import { untilContainersEnd } from './until-containers-end.ts';

/** Answers with the exit code: the run's, or that of a person who pressed Ctrl-C. */
export async function followRun(context: CliContext, run: string): Promise<number> {
  const mcli = await context.mcli();
  const detach = new AbortController();
  const onInterrupt = (): void => detach.abort();
  process.once('SIGINT', onInterrupt);
  try {
    const last = await follow(context, mcli, run, detach.signal);
    if (detach.signal.aborted) {
      context.say(`\ni Detached from ${run}, which goes on. Follow it again: mcli logs ${run} --follow`);
      context.say(`i Stop it: mcli stop run ${run}`);
      return EXIT.detached;
    }
    return last ? conclude(context, last) : EXIT.failed;
  } finally {
    process.off('SIGINT', onInterrupt);
  }
}

async function follow(
  context: CliContext,
  mcli: Mcli,
  run: string,
  signal: AbortSignal,
): Promise<RunDetails | undefined> {
  const progress = new Progress(context, mcli);
  const logs = new LogFollower(context, mcli, run);
  const following = logs.start(signal).catch((error: unknown) => {
    // The run goes on without its logs; they are still there for `mcli logs`.
    for (const problem of problemsOf(error)) context.say(renderProblem(problem));
  });
  let last: RunDetails | undefined;
  try {
    for await (const details of mcli.runs.watch(run, signal)) {
      progress.show(details);
      logs.learn(details);
      last = details;
    }
    // A run that has not started has no log.
    if (last?.startedAt && !signal.aborted) {
      await untilContainersEnd(mcli, last, signal);
      await logs.finish();
    }
  } finally {
    progress.close();
    logs.stop();
    await following;
  }
  return last;
}

function conclude(context: CliContext, run: RunDetails): number {
  if (run.status === 'COMPLETED') {
    context.say(`✔ Run ${run.name} completed.`);
    return EXIT.ok;
  }
  const words = run.status === 'STOPPED' ? 'was stopped' : 'failed';
  context.say(`✗ Run ${run.name} ${words}: ${statusWithReason(run)}`);
  context.say(`  why: ${run.message}`);
  const hint = run.failure && failureClass(run.failure).hint;
  if (hint) context.say(`  fix: ${hint}`);
  return run.status === 'STOPPED' ? EXIT.stopped : EXIT.failed;
}

/** Writes the logs of all ranks and resumptions as they come. */
class LogFollower {
  private readonly mcli: Mcli;
  private readonly run: string;
  private readonly context: CliContext;
  /** Known as soon as the run was accepted; 0 when it never was. */
  private readonly ranks = Promise.withResolvers<number>();
  private readonly ended = Promise.withResolvers<void>();
  private readonly written = Promise.withResolvers<void>();
  private readonly done = new AbortController();
  private onProgress: (() => void) | undefined;

  constructor(context: CliContext, mcli: Mcli, run: string) {
    this.context = context;
    this.mcli = mcli;
    this.run = run;
  }

  learn({ resources }: Pick<RunDetails, 'resources'>): void {
    if (resources) this.ranks.resolve(resources.nodes);
  }

  async start(signal: AbortSignal): Promise<void> {
    const ranks = await this.ranks.promise;
    if (ranks > 0) await this.write(ranks, AbortSignal.any([signal, this.done.signal]));
    this.written.resolve();
  }

  private async write(ranks: number, signal: AbortSignal): Promise<void> {
    const writer = new LogWriter(this.context.terminal.stdout, { timestamps: false, ranks: ranks > 1 });
    const options = { ended: this.ended.promise, signal };
    let hasBegun = false;
    for (let attempt = 1; !signal.aborted; attempt += 1) {
      try {
        for await (const chunk of this.mcli.logs.follow({ run: this.run, ranks }, options)) {
          hasBegun = true;
          await writer.write(chunk);
          this.onProgress?.();
        }
        await writer.finish();
        return;
      } catch (error) {
        if (hasBegun) throw error;
        // The run goes on meanwhile; its log is kept on its nodes.
        if (attempt === 1) for (const problem of problemsOf(error)) this.context.say(renderProblem(problem));
        await sleep(RETRY_MS, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  /** Waits until all that the ended run has written is here. */
  async finish(): Promise<void> {
    this.ended.resolve();
    const stalled = Promise.withResolvers<void>();
    const timer = setTimeout(() => {
      this.context.say(`! The end of the log is not here yet. See it later: mcli logs ${this.run}`);
      stalled.resolve();
    }, STALLED_LOG_MS);
    this.onProgress = () => void timer.refresh();
    await Promise.race([this.written.promise, stalled.promise]);
    clearTimeout(timer);
  }

  stop(): void {
    this.done.abort();
    this.ranks.resolve(0);
  }
}

/** No message for this long, with the run at its end: the log server is away, and the run's outcome counts more. */
const STALLED_LOG_MS = 10_000;
const RETRY_MS = 2_000;
/** How often a waiting run is asked about: a spinner need not be fresher. */
const POLL_MS = 1_000;

/** Phases: a spinner on a terminal, one line each in a pipe. */
class Progress {
  private readonly context: CliContext;
  private readonly mcli: Mcli;
  private spinner: Spinner | undefined;
  private timer: NodeJS.Timeout | undefined;
  private shown = '';

  constructor(context: CliContext, mcli: Mcli) {
    this.context = context;
    this.mcli = mcli;
  }

  show(run: RunDetails): void {
    const key = `${run.resumption} ${run.status}`;
    if (key === this.shown || isTerminal(run.status)) return;
    this.shown = key;
    clearInterval(this.timer);
    const text = phaseText(run);
    if (!this.context.terminal.interactive) {
      this.context.say(`i ${run.name}: ${text}`);
      return;
    }
    if (run.status === 'RUNNING' || run.status === 'TERMINATING') {
      // The logs have the terminal from here on; a spinner would draw over them.
      this.stopSpinner();
      if (run.status === 'RUNNING') {
        this.context.say(`✔ Run ${run.name} started on ${run.nodes.join(', ')}`);
        this.context.say('i Following run logs. Press Ctrl+C to quit.');
      }
      return;
    }
    this.spinner ??= startSpinner(this.context.terminal.stderr);
    this.spinner.text(`Run ${run.name}: ${text}`);
    this.timer = setInterval(() => void this.refresh(run), POLL_MS);
  }

  close(): void {
    clearInterval(this.timer);
    this.stopSpinner();
  }

  private stopSpinner(): void {
    this.spinner?.stop();
    this.spinner = undefined;
  }

  /** What only the cluster and the node know: the place in the queue, the bytes of a pull. */
  private async refresh(run: RunDetails): Promise<void> {
    try {
      const text = run.status === 'QUEUED' ? await this.queueText(run) : await this.pullText(run);
      if (text) this.spinner?.text(`Run ${run.name}: ${text}`);
    } catch {
      // A missed look at the progress is no reason to disturb anybody.
    }
  }

  private async queueText({ name, resources }: RunDetails): Promise<string | undefined> {
    if (!resources) return undefined;
    const place = await this.mcli.runs.queuePosition(name, resources.cluster);
    return place && `Queued, position ${place.position}. ${place.reason}`;
  }

  private async pullText({ name, input }: RunDetails): Promise<string | undefined> {
    const beats = await this.mcli.runs.heartbeats(name);
    const pulls = beats.filter(({ activity, details }) => activity === 'pull-image' && details);
    if (pulls.length === 0) return undefined;
    const sum = (field: keyof PullProgress): number =>
      pulls.reduce((total, { details }) => total + (details as PullProgress)[field], 0);
    const bytes = `${displayBytes(sum('downloadedBytes'))} of ${displayBytes(sum('totalBytes'))}`;
    return `Pulling ${input.spec.image}: ${bytes}, ${sum('layersDone')} of ${sum('layersTotal')} layers`;
  }
}

function phaseText({ status, resumption, reason, message, input, nodes }: RunDetails): string {
  const again = resumption > 0 ? ` (resumption ${resumption})` : '';
  switch (status) {
    case 'PENDING':
      return 'Constructed';
    case 'QUEUED':
      return `Waiting for resources to become available${again}${reason ? ` after: ${message}` : ''}`;
    case 'STARTING':
      return `Pulling image ${input.spec.image} on ${nodes.join(', ')}${again}`;
    case 'RUNNING':
      return `Running on ${nodes.join(', ')}${again}`;
    case 'TERMINATING':
      return 'Terminating';
    default:
      return statusWithReason({ status, reason });
  }
}
