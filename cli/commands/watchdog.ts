/** `mcli watchdog`: lets a run start again by itself after failures, or no longer. */
import type { CliContext } from '../context.ts';
import { EXIT } from '../errors.ts';
import { refuseEnded } from './update/run.ts';

export interface WatchdogFlags {
  readonly disable?: boolean;
  readonly maxRetries?: number;
}

/** As the original: enough for a flaky run, and an end for one that always fails. */
const DEFAULT_MAX_RETRIES = 10;

export async function watchdog(context: CliContext, name: string, flags: WatchdogFlags): Promise<number> {
  const { runs } = await context.mcli();
  refuseEnded(await runs.describe(name));
  // Switching it off leaves the retries of the run itself alone, unless they are named: they may be its file's.
  const maxRetries = flags.maxRetries ?? (flags.disable ? undefined : DEFAULT_MAX_RETRIES);
  const now = await runs.changeScheduling(name, {
    retryOnSystemFailure: !flags.disable,
    ...(maxRetries === undefined ? {} : { maxRetries }),
  });
  context.say(`✔ Watchdog is ${flags.disable ? 'off' : 'on'} for ${name}.`);
  context.say(
    flags.disable
      ? 'i A failure of its node or of the system now ends the run.'
      : 'i After a failure of its node or of the system, the run starts again.',
  );
  context.say(`i After other failures it starts again up to ${now.maxRetries} times.`);
  if (flags.disable && now.maxRetries > 0) {
    context.say(`i To end that too: mcli update run ${name} --max-retries 0`);
  }
  return EXIT.ok;
}
