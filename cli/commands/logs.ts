/** `mcli logs`: what a run has printed, during and after. */
import type { LogSelection } from '../../client/index.ts';
import { isTerminal } from '../../core/run-status.ts';
import type { CliContext, Mcli } from '../context.ts';
import { CliError, EXIT } from '../errors.ts';
import { LogWriter } from '../output/log-writer.ts';
import { latestRun } from '../select-runs.ts';

export interface LogsFlags {
  readonly follow?: boolean;
  readonly tail?: number;
  readonly timestamps?: boolean;
  readonly resumption?: number;
  readonly nodeRank?: number;
}

export async function logs(context: CliContext, name: string | undefined, flags: LogsFlags): Promise<number> {
  const mcli = await context.mcli();
  const run = name ?? (await latestRun(mcli));
  if (name === undefined) context.say(`i No run name provided. Displaying log of latest run: ${run}`);
  const details = await mcli.runs.describe(run);
  const resumption = flags.resumption ?? details.resumption;
  if (resumption < 0 || resumption > details.resumption) {
    throw new CliError({
      message: `Run ${run} has no resumption ${resumption}`,
      why: `it has ${details.resumption + 1}, counted from 0`,
      fix: `Ask for --resumption 0 to ${details.resumption}.`,
    });
  }
  const waiting =
    details.status === 'PENDING' || details.status === 'QUEUED' || details.status === 'STARTING';
  if (waiting && resumption === details.resumption && !flags.follow) {
    throw new CliError({
      message: `Run ${run} has not started yet, so there are no logs`,
      why: `its status is ${details.status}`,
      fix: `Wait for it: mcli logs ${run} --follow`,
    });
  }
  const ranks = details.resources?.nodes ?? 1;
  const selection: LogSelection = {
    run,
    ranks,
    // Following means the run, whatever becomes of it; a resumption that was asked for stands alone.
    ...(flags.follow && flags.resumption === undefined ? {} : { resumption }),
    ...(flags.nodeRank === undefined ? {} : { rank: flags.nodeRank }),
    ...(flags.tail === undefined ? {} : { tail: flags.tail }),
  };
  const writer = new LogWriter(context.terminal.stdout, {
    timestamps: flags.timestamps ?? false,
    ranks: ranks > 1 && flags.nodeRank === undefined,
  });
  if (flags.follow) await follow(mcli, selection, writer);
  else for await (const chunk of mcli.logs.read(selection)) await writer.write(chunk);
  return EXIT.ok;
}

/** Replays what is there, then goes on until the run has ended or somebody presses Ctrl-C. */
async function follow(mcli: Mcli, selection: LogSelection, writer: LogWriter): Promise<void> {
  const interrupt = new AbortController();
  const { signal } = interrupt;
  const onInterrupt = (): void => interrupt.abort();
  process.once('SIGINT', onInterrupt);
  try {
    const watching = untilEnded(mcli, selection.run, signal);
    const ended = watching.catch(() => undefined);
    for await (const chunk of mcli.logs.follow(selection, { ended, signal })) await writer.write(chunk);
    await watching;
  } finally {
    process.off('SIGINT', onInterrupt);
  }
}

async function untilEnded(mcli: Mcli, run: string, signal: AbortSignal): Promise<void> {
  for await (const { status } of mcli.runs.watch(run, signal)) if (isTerminal(status)) return;
}
