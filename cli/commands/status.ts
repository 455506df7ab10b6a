/** `mcli status`: what runs on this machine, and how it is. Exit code 0 only when every part is healthy. */
import type { PartStatus, StackStatus } from '../../stack/status.ts';
import type { CliContext } from '../context.ts';
import { EXIT } from '../errors.ts';
import { renderTable } from '../output/table.ts';

export async function status(
  context: CliContext,
  { output }: { readonly output: 'table' | 'json' },
): Promise<number> {
  const [{ stackStatus }, { stackHome }] = await Promise.all([
    import('../../stack/status.ts'),
    import('../../stack/home.ts'),
  ]);
  const found = await stackStatus(stackHome(context.env));
  context.print(output === 'json' ? JSON.stringify(found, null, 2) : renderStatus(found));
  return found.healthy ? EXIT.ok : EXIT.failed;
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
