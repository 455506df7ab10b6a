/** `mcli logs`: what a run has printed, during and after. */
import type { LogSelection, RunDetails } from '../../client/index.ts';
import { firstException } from '../../client/first-exception.ts';
import { isTerminal } from '../../core/run-status.ts';
import type { CliContext, Mcli } from '../context.ts';
import { CliError, EXIT } from '../errors.ts';
import { LogWriter } from '../output/log-writer.ts';
import { latestRun } from '../select-runs.ts';
import { untilContainersEnd } from '../until-containers-end.ts';

export interface LogsFlags {
  readonly follow?: boolean;
  readonly tail?: number;
  readonly timestamps?: boolean;
  readonly resumption?: number;
  readonly prev?: boolean;
  readonly nodeRank?: number;
  readonly node?: number;
  readonly rank?: number;
  readonly failed?: boolean;
  readonly firstException?: boolean;
}

export async function logs(context: CliContext, name: string | undefined, flags: LogsFlags): Promise<number> {
  const mcli = await context.mcli();
  const run = name ?? (await latestRun(mcli));
  if (name === undefined) context.say(`i No run name provided. Displaying log of latest run: ${run}`);
  if (flags.rank !== undefined) context.say('! --rank is deprecated. Use --node-rank.');
  const details = flags.follow ? await constructed(mcli, run) : await mcli.runs.describe(run);
  const resumption = chosenResumption(details, flags);
  const isNewest = resumption === details.resumption;
  if (isNewest && !flags.follow) refuseBeforeStart(details);
  if (isNewest && details.reason === 'FailedPull') {
    context.say(
      `i The image of ${run} could not be pulled, so there may be no logs. See: mcli describe run ${run}`,
    );
  }
  const ranks = details.resources?.nodes ?? 1;
  const rank = flags.failed
    ? await failedRank(context, run, resumption)
    : chosenRank(run, ranks, flags.nodeRank ?? flags.node ?? flags.rank);
  // An earlier resumption has ended: there is nothing to wait for.
  const follows = flags.follow && isNewest;
  const selection: LogSelection = {
    run,
    ranks,
    // Following means the run, whatever becomes of it; a resumption that was asked for stands alone.
    ...(follows && flags.resumption === undefined ? {} : { resumption }),
    ...(rank !== undefined && { rank }),
    ...(flags.tail !== undefined && { tail: flags.tail }),
  };
  const writer = new LogWriter(context.terminal.stdout, {
    timestamps: flags.timestamps ?? false,
    ranks: ranks > 1 && rank === undefined,
  });
  if (follows) await follow(mcli, selection, writer);
  else if (flags.firstException) await showFirstException(context, mcli, selection, writer);
  else await writer.writeAll(mcli.logs.read(selection));
  return EXIT.ok;
}

/** A run that was only just submitted does not know yet how many ranks it has. */
async function constructed(mcli: Mcli, run: string): Promise<RunDetails> {
  for await (const details of mcli.runs.watch(run)) if (details.resources) return details;
  // Refused, or ended before.
  return await mcli.runs.describe(run);
}

function chosenResumption({ name, resumption: newest }: RunDetails, { resumption, prev }: LogsFlags): number {
  const chosen = prev ? newest - 1 : (resumption ?? newest);
  if (chosen >= 0 && chosen <= newest) return chosen;
  throw new CliError(
    prev
      ? {
          message: `Run ${name} has no resumption before the last`,
          why: 'it has been executed only once',
          fix: `Leave --prev out: mcli logs ${name}`,
        }
      : {
          message: `Run ${name} has no resumption ${chosen}`,
          why: `it has ${newest + 1}, counted from 0`,
          fix: `Ask for --resumption 0 to ${newest}.`,
        },
  );
}

function refuseBeforeStart({ name, status, resumption }: RunDetails): void {
  if (status !== 'PENDING' && status !== 'QUEUED' && status !== 'STARTING') return;
  throw new CliError({
    message: `Run ${name} has not started${resumption > 0 ? ' again' : ''} yet, so there are no logs`,
    why: `its status is ${status}`,
    fix: `Wait for it: mcli logs ${name} --follow${resumption > 0 ? `. Its last execution: mcli logs ${name} --prev` : ''}`,
  });
}

function chosenRank(run: string, ranks: number, rank: number | undefined): number | undefined {
  if (rank === undefined || rank < ranks) return rank;
  throw new CliError({
    message: `Run ${run} has no rank ${rank}`,
    why: `it has ${ranks}, one for each node, counted from 0`,
    fix: `Ask for --node-rank 0 to ${ranks - 1}.`,
  });
}

async function failedRank(context: CliContext, run: string, resumption: number): Promise<number> {
  const failure = await (await context.mcli()).runs.firstFailure(run, resumption);
  if (failure) {
    context.say(`i Rank ${failure.rank} on ${failure.node} failed first: ${failure.message}`);
    return failure.rank;
  }
  throw new CliError({
    message: `No rank of run ${run} has failed in resumption ${resumption}`,
    why: 'nothing in its history says that one has ended by itself other than with exit code 0',
    fix: `See all of them: mcli logs ${run} --resumption ${resumption}`,
  });
}

async function showFirstException(
  context: CliContext,
  mcli: Mcli,
  selection: LogSelection,
  writer: LogWriter,
): Promise<void> {
  let found = false;
  for await (const chunk of firstException(mcli.logs.read(selection))) {
    found = true;
    await writer.write(chunk);
  }
  await writer.finish();
  if (!found) context.say(`i There is no Python exception in the log of ${selection.run}.`);
}

/** Replays what is there, then goes on until the log has ended, or the run, or somebody presses Ctrl-C. */
async function follow(mcli: Mcli, selection: LogSelection, writer: LogWriter): Promise<void> {
  const interrupt = new AbortController();
  const { signal } = interrupt;
  const onInterrupt = (): void => interrupt.abort();
  process.once('SIGINT', onInterrupt);
  try {
    const watching = untilEnded(mcli, selection.run, signal);
    const ended = watching.catch(() => undefined);
    await writer.writeAll(mcli.logs.follow(selection, { ended, signal }));
    interrupt.abort();
    await watching;
  } finally {
    process.off('SIGINT', onInterrupt);
  }
}

async function untilEnded(mcli: Mcli, run: string, signal: AbortSignal): Promise<void> {
  for await (const details of mcli.runs.watch(run, signal)) {
    if (isTerminal(details.status)) return await untilContainersEnd(mcli, details, signal);
  }
}
