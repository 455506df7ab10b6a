/** Asks before something is ended or deleted. */
import type { CliContext } from './context.ts';
import { CliError } from './errors.ts';

/** More names than this do not fit before a question. */
const MAX_LISTED = 50;

/** @throws CliError when the answer is no, or nobody is there to ask. */
export async function confirmNames(
  context: CliContext,
  {
    verb,
    noun,
    names,
    yes,
  }: {
    readonly verb: string;
    readonly noun: string;
    readonly names: readonly string[];
    /** Said beforehand. */
    readonly yes: boolean;
  },
): Promise<void> {
  if (yes) return;
  let question = `Would you like to ${verb} all ${names.length} ${noun}s?`;
  if (names.length === 1) question = `Would you like to ${verb} the ${noun}: ${names[0]}?`;
  else if (names.length < MAX_LISTED) {
    context.say(`i Ready to ${verb} ${noun}s:\n${names.map((name) => `- ${name}`).join('\n')}\n`);
    question = `Would you like to ${verb} the ${noun}s listed above?`;
  }
  if (await context.confirm(question)) return;
  throw new CliError({
    message: `Canceling ${verb} ${noun}s`,
    ...(context.terminal.interactive
      ? {}
      : { why: 'nobody can be asked: this is no terminal', fix: 'Say yes beforehand: -y' }),
  });
}
