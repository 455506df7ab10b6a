/** `mcli logs`: what a run has printed, during and after. */
import type { LogSelection } from '../../client/index.ts';
import { isTerminal } from '../../core/run-status.ts';
import type { CliContext, Mcli } from '../context.ts';
import { CliError, EXIT } from '../errors.ts';
import { LogWriter, Tail } from '../output/log-writer.ts';
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
  const selection: LogSelection = {
    run,
    // Following means the run, whatever becomes of it; a resumption that was asked for stands alone.
    ...(flags.follow && flags.resumption === undefined ? {} : { resumption }),
    ...(flags.nodeRank === undefined ? {} : { rank: flags.nodeRank }),
  };
  const severalRanks = (details.resources?.nodes ?? 1) > 1 && flags.nodeRank === undefined;
  const writer = new LogWriter(context.terminal.stdout, {
    timestamps: flags.timestamps ?? false,
    ranks: severalRanks,
  });
  if (flags.tail === undefined && !flags.follow) {
    for await (const chunk of mcli.logs.read(selection)) await writer.write(chunk);
    return EXIT.ok;
  }
  const tail = flags.tail === undefined ? undefined : new Tail(flags.tail);
  if (!flags.follow) {
    for await (const chunk of mcli.logs.read(selection)) tail?.add(chunk);
    await tail?.writeTo(writer);
    return EXIT.ok;
  }
  return await follow(mcli, run, selection, writer, tail);
}

/** Replays what is there, then goes on until the run has ended. */
async function follow(
  mcli: Mcli,
  run: string,
  selection: LogSelection,
  writer: LogWriter,
  tail: Tail | undefined,
): Promise<number> {
  const done = new AbortController();
  const onInterrupt = (): void => done.abort();
  process.once('SIGINT', onInterrupt);
  let received = 0;
  let backlog = await mcli.logs.stored(selection);
  let enough = Infinity;
  const ended = (async (): Promise<void> => {
    for await (const details of mcli.runs.watch(run, done.signal)) if (isTerminal(details.status)) break;
    enough = await mcli.logs.stored(selection);
    if (received >= enough) done.abort();
  })();
  for await (const chunk of mcli.logs.follow(selection, done.signal)) {
    received += 1;
    if (tail && received <= backlog) {
      tail.add(chunk);
      if (received === backlog) await tail.writeTo(writer);
    } else {
      backlog = 0;
      await writer.write(chunk);
    }
    if (received >= enough) done.abort();
  }
  process.off('SIGINT', onInterrupt);
  await ended;
  return EXIT.ok;
}
