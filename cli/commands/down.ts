/** `mcli down`: stop the local stack. */
import type { Command } from 'commander';
import type { CliContext } from '../context.ts';

export function registerDown(program: Command, context: CliContext): void {
  program
    .command('down')
    .description('stop the local stack; its data stays, and containers of runs go on')
    .action(async () => {
      const { takeDown } = await import('../../stack/local-stack.ts');
      const ended = await takeDown({ env: context.env });
      context.print(
        ended === 0
          ? 'i The local stack is not running.'
          : `✔ The local stack is down (${ended} processes ended). Runs and logs are kept: mcli up`,
      );
    });
}
