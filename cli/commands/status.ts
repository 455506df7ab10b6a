/** `mcli status`: what runs on this machine, and how it is. Exit code 0 only when every part is healthy. */
import type { Command } from 'commander';
import { Option } from 'commander';
import type { PartStatus, StackStatus } from '../../stack/status.ts';
import type { CliContext } from '../context.ts';
import { EXIT } from '../errors.ts';
import { renderTable } from '../output/table.ts';

export function registerStatus(program: Command, context: CliContext): void {
  program
    .command('status')
    .description('show the parts of the local stack, with address, pid, uptime and health')
    .addOption(
      new Option('-o, --output <format>', 'output format').choices(['table', 'json']).default('table'),
    )
    .action(async ({ output }: { readonly output: 'table' | 'json' }) => {
      const [{ stackStatus }, { stackHome }] = await Promise.all([
        import('../../stack/status.ts'),
        import('../../stack/home.ts'),
      ]);
      const status = await stackStatus(stackHome(context.env));
      context.print(output === 'json' ? JSON.stringify(status, null, 2) : renderStatus(status));
      if (!status.healthy) process.exitCode = EXIT.failed;
    });
}

function renderStatus(status: StackStatus): string {
  if (status.state === 'down') {
    return `The local stack in ${status.home} is down. Start it: mcli up`;
  }
  const table = renderTable<PartStatus>(
    [
      { head: 'PART', value: ({ name }) => name },
      { head: 'HEALTH', value: ({ health }) => health },
      { head: 'ADDRESS', value: ({ address }) => address },
      { head: 'PID', value: ({ pid }) => (pid === null ? '-' : String(pid)) },
      { head: 'UPTIME', value: ({ uptimeSeconds }) => duration(uptimeSeconds) },
      { head: 'RESTARTS', value: ({ restarts }) => String(restarts) },
      { head: 'DETAIL', value: ({ detail }) => detail.split('\n')[0] ?? '' },
    ],
    status.parts,
  );
  const history = status.historyDays === null ? 'unknown, Temporal is away' : `${status.historyDays} days`;
  return [
    table,
    '',
    `Cluster  ${status.cluster ?? '-'}`,
    `Web UI   ${status.webUi ?? '-'}`,
    `History  ${history}`,
    `Home     ${status.home}`,
    `Logs     ${status.logs}`,
  ].join('\n');
}

function duration(seconds: number | null): string {
  if (seconds === null) return '-';
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m${seconds % 60}s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)}h${Math.floor((seconds % 3_600) / 60)}m`;
  return `${Math.floor(seconds / 86_400)}d${Math.floor((seconds % 86_400) / 3_600)}h`;
}
