/** `mcli up`: start the local stack, or change its settings. */
import type { StackChanges } from '../../stack/settings.ts';
import type { CliContext } from '../context.ts';
import { EXIT } from '../errors.ts';

export async function up(context: CliContext, changes: StackChanges): Promise<number> {
  const { bringUp } = await import('../../stack/local-stack.ts');
  const { webUiUrl } = await bringUp({ env: context.env, say: (line) => context.say(line) }, changes, {
    refreshEnvironment: true,
  });
  context.print(`✔ The local stack is up. Web UI: ${webUiUrl}`);
  context.say('  Submit a run: mcli run -f run.yaml    Look at the stack: mcli status    Stop it: mcli down');
  return EXIT.ok;
}
