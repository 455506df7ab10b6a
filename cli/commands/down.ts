/** `mcli down`: stop the local stack. */
import type { CliContext } from '../context.ts';
import { EXIT } from '../errors.ts';

export async function down(context: CliContext): Promise<number> {
  const { takeDown } = await import('../../stack/local-stack.ts');
  const ended = await takeDown({ env: context.env });
  context.print(
    ended === 0
      ? 'i The local stack is not running.'
      : `✔ The local stack is down (${ended} processes ended). Runs and logs are kept: mcli up`,
  );
  return EXIT.ok;
}
