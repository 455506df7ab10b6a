/** `mcli update run`: changes how a run is scheduled, while it waits or runs. */
import type { Mcli } from '../../context.ts';
import type { RunDetails } from '../../../client/index.ts';
import { parsePriority, PRIORITIES } from '../../../core/priority.ts';
import { isTerminal } from '../../../core/run-status.ts';
import { didYouMean } from '../../../core/suggest.ts';
import type { SchedulingChange } from '../../../workflows/messages.ts';
import type { CliContext } from '../../context.ts';
import { CliError, EXIT } from '../../errors.ts';
import { displayDuration, displayTime } from '../../output/time.ts';

export interface UpdateRunFlags {
  readonly priority?: string;
  readonly preemptible?: boolean;
  readonly maxRetries?: number;
  /** Hours. */
  readonly maxDuration?: number;
}

export async function updateRun(context: CliContext, name: string, flags: UpdateRunFlags): Promise<number> {
  const change = changeOf(flags);
  if (Object.keys(change).length === 0) {
    throw new CliError(
      {
        message: 'Must specify priority, preemptible, max retries or max duration to update',
        fix: `For instance: mcli update run ${name} --priority high`,
      },
      EXIT.usage,
    );
  }
  const { runs } = await context.mcli();
  const run = await runs.describe(name);
  refuseEnded(run);
  refuseTooShort(run, change.maxDurationHours);
  await runs.changeScheduling(name, change);
  context.say(`✔ Updated ${name}.`);
  for (const line of changes(run, change)) context.say(line);
  await tellPlace(context, runs, run);
  return EXIT.ok;
}

/** @throws CliError for a run that has ended, or that is about to */
export function refuseEnded({ name, status }: RunDetails): void {
  if (!isTerminal(status) && status !== 'TERMINATING') return;
  throw new CliError({
    message: `Run ${name} has already ${isTerminal(status) ? 'ended' : 'begun to end'} and cannot be updated`,
    why: `its status is ${status}`,
    fix: `Submit it again: mcli run --clone ${name}`,
  });
}

/** Where a queued run stands now. */
async function tellPlace(context: CliContext, runs: Mcli['runs'], run: RunDetails): Promise<void> {
  if (run.status !== 'QUEUED' || !run.resources) return;
  const place = await runs.queuePosition(run.name, run.resources.cluster);
  if (place) context.say(`i Queued at position ${place.position}. ${place.reason}`);
}

function changeOf({ priority, preemptible, maxRetries, maxDuration }: UpdateRunFlags): SchedulingChange {
  return {
    ...(priority === undefined ? {} : { priority: readPriority(priority) }),
    ...(preemptible === undefined ? {} : { preemptible }),
    ...(maxRetries === undefined ? {} : { maxRetries }),
    ...(maxDuration === undefined ? {} : { maxDurationHours: maxDuration }),
  };
}

function readPriority(word: string): NonNullable<SchedulingChange['priority']> {
  const priority = parsePriority(word);
  if (priority) return priority;
  throw new CliError(
    {
      message: `Unknown priority: ${word}${didYouMean(word, PRIORITIES)}`,
      fix: `Priorities are ${PRIORITIES.join(', ')}; auto means medium.`,
    },
    EXIT.usage,
  );
}

function refuseTooShort({ name, startedAt }: RunDetails, hours: number | undefined): void {
  if (hours === undefined || !startedAt) return;
  const elapsedMs = Date.now() - startedAt.getTime();
  if (hours * HOUR_MS > elapsedMs) return;
  throw new CliError({
    message: `Setting the max duration to ${hours}hr would cause ${name} to terminate immediately`,
    why: `it started ${displayDuration(elapsedMs)} ago`,
    fix: `If you want to stop it: mcli stop run ${name}`,
  });
}

function changes({ name, startedAt }: RunDetails, change: SchedulingChange): string[] {
  const { priority, preemptible, maxRetries, maxDurationHours: hours } = change;
  const lines: string[] = [];
  if (priority !== undefined) lines.push(`Set priority to ${priority}.`);
  if (preemptible !== undefined) lines.push(`Set preemptible to ${preemptible}.`);
  if (maxRetries !== undefined) lines.push(`Set max retries to ${maxRetries}.`);
  if (hours !== undefined) {
    const end = startedAt && new Date(startedAt.getTime() + hours * HOUR_MS);
    lines.push(
      end
        ? `${name} will now expire on ${displayTime(end)}.`
        : `${name} will now expire in ${hours}hr, counted from its start.`,
    );
  }
  return lines;
}

const HOUR_MS = 3_600_000;
