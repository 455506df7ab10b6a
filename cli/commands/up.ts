/** `mcli up`: start the local stack, or change its settings. */
import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import type { StackChanges } from '../../stack/settings.ts';
import type { CliContext } from '../context.ts';

export function registerUp(program: Command, context: CliContext): void {
  program
    .command('up')
    .description('start the local stack on this machine; what is set here is kept')
    .option('--cluster <name>', 'name of the cluster (r1z1)')
    .option('--nodes <number>', 'how many nodes this machine stands for (1)', wholeNumber)
    .option('--gpus <number>', 'GPUs per node, declared; "auto": those that nvidia-smi finds', gpuCount)
    .option('--gpu-type <type>', 'type of the declared GPUs, as runs ask for it, for instance a100_80gb')
    .option('--cpu-slots <number>', 'how many runs without GPUs a node takes at once', wholeNumber)
    .option('--container-network <mode>', 'Docker network mode of all runs, for instance host')
    .action(async (changes: StackChanges) => await up(context, changes));
}

async function up(context: CliContext, changes: StackChanges): Promise<void> {
  const { bringUp } = await import('../../stack/local-stack.ts');
  const { webUiUrl } = await bringUp({ env: context.env, say: (line) => context.say(line) }, changes, {
    refreshEnvironment: true,
  });
  context.print(`✔ The local stack is up. Web UI: ${webUiUrl}`);
  context.say('  Submit a run: mcli run -f run.yaml    Look at the stack: mcli status    Stop it: mcli down');
}

function wholeNumber(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('Give a whole number.');
  return Number(text);
}

function gpuCount(text: string): number | 'auto' {
  return text === 'auto' ? 'auto' : wholeNumber(text);
}
