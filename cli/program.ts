/** The commands of mcli and their flags. What a command does is loaded only when it runs: `--help` must be quick. */
import { Command, InvalidArgumentError, Option } from 'commander';
import type { StackChanges } from '../stack/settings.ts';
import type { CliContext } from './context.ts';
import type { Dispatch } from './dispatch.ts';
import { addCreate, addDeleteSecret, addGetSecrets } from './program-secrets.ts';

const DEFAULT_LIMIT = 50;

export function buildProgram(context: CliContext, dispatch: Dispatch, version: string): Command {
  const program = new Command('mcli')
    .description('A control plane for GPU training runs')
    .version(version, '--version', 'print the version')
    .showSuggestionAfterError()
    .configureOutput({
      writeOut: (text) => context.terminal.stdout.write(text),
      writeErr: (text) => context.terminal.stderr.write(text),
      outputError: (text, write) => write(text.replace(/^error: /, '✗ ')),
    })
    .exitOverride();
  addRun(program, context, dispatch);
  addLogs(program, context, dispatch);
  addGet(program, context, dispatch);
  addDescribe(program, context, dispatch);
  addStop(program, context, dispatch);
  addDelete(program, context, dispatch);
  addCreate(program, context, dispatch);
  addScheduling(program, context, dispatch);
  addNodeOrders(program, context, dispatch);
  addUtil(program, context, dispatch);
  addStack(program, context, dispatch);
  return program;
}

function addRun(program: Command, context: CliContext, dispatch: Dispatch): void {
  program
    .command('run')
    .alias('r')
    .description('submit a run, and follow it to its end')
    .option('-f, --file <file>', 'the run file; - reads standard input')
    .option('--clone <run>', 'submit again what an earlier run submitted')
    .addOption(new Option('--cluster <name>', 'run on this cluster'))
    .addOption(new Option('--platform <name>').hideHelp())
    .option('--gpu-type <type>', 'GPU type, or none')
    .option('--gpus <n>', 'GPUs in all', wholeNumber)
    .option('--nodes <n>', 'number of nodes', wholeNumber)
    .option('--node-names <names>', 'only these nodes, separated by commas; empty for any', commaList)
    .option('--instance <name>', 'instance name')
    .option('--image <image>', 'Docker image')
    .option('--name, --run-name <name>', 'name of the run')
    .option('--priority <class>', 'highest, high, medium (auto), low or lowest')
    .option('--preemptible', 'may give way to higher priority')
    .option('--no-preemptible', 'keeps its GPUs')
    .option('--max-retries <n>', 'retries after failures of the run itself', wholeNumber)
    .addOption(new Option('--max_retries <n>').argParser(wholeNumber).hideHelp())
    .option('--max-duration <hours>', 'stop the run after so many hours', hours)
    .option('--no-follow', 'submit only')
    .addOption(new Option('--follow', 'follow the logs (the default)').default(true))
    .option('--dry-run', 'print what construction makes of the file, and submit nothing')
    .addOption(new Option('-o, --output <format>', 'of --dry-run').choices(['yaml', 'json']))
    .action((flags: RunOptions) =>
      dispatch(async () => {
        const { run } = await import('./commands/run.ts');
        const { runName, platform, max_retries: oldMaxRetries, ...rest } = flags;
        return await run(context, {
          ...rest,
          ...(runName === undefined ? {} : { name: runName }),
          ...(platform === undefined ? {} : { cluster: platform }),
          ...(oldMaxRetries === undefined ? {} : { maxRetries: oldMaxRetries }),
        });
      }),
    );
}

type RunOptions = import('./commands/run.ts').RunFlags & {
  readonly runName?: string;
  readonly platform?: string;
  readonly max_retries?: number;
};

function addLogs(program: Command, context: CliContext, dispatch: Dispatch): void {
  program
    .command('logs')
    .alias('log')
    .description('print what a run has printed')
    .argument('[run]', 'name of the run; the latest by default')
    .option('-f, --follow', 'go on until the run has ended')
    .option('--no-follow', 'print what is there (the default)')
    .option('-t, --tail <n>', 'only the last lines', wholeNumber)
    .option('--timestamps', 'put the time in front of every line')
    .option('--resumption <n>', 'of this resumption; the last by default', wholeNumber)
    .addOption(new Option('--prev', 'of the resumption before the last').conflicts('resumption'))
    .option('--node-rank <n>', 'of this rank; all by default', wholeNumber)
    .addOption(new Option('--node <n>').argParser(wholeNumber).hideHelp())
    .addOption(new Option('--rank <n>').argParser(wholeNumber).hideHelp())
    .addOption(
      new Option('--failed', 'of the rank that failed first').conflicts(['nodeRank', 'node', 'rank']),
    )
    .addOption(
      new Option('--first-exception', 'the first traceback of Python alone').conflicts(['follow', 'tail']),
    )
    .addOption(
      new Option('--error').implies({ firstException: true }).conflicts(['follow', 'tail']).hideHelp(),
    )
    .action((run: string | undefined, flags: import('./commands/logs.ts').LogsFlags) =>
      dispatch(async () => (await import('./commands/logs.ts')).logs(context, run, flags)),
    );
}

function addGet(program: Command, context: CliContext, dispatch: Dispatch): void {
  const get = program.command('get').alias('g').description('list runs, clusters or secrets');
  addGetSecrets(get, context, dispatch);
  selection(get.command('runs').alias('run'))
    .description('list runs, newest first')
    .argument('[runs...]', 'names or globs')
    .option(
      '-m, --metadata <key=value>',
      'with this metadata; a key alone adds a column. May be repeated',
      (text: string, before: readonly string[]) => [...before, text],
      [],
    )
    .option('--limit <n>', 'at most so many; none for all', limit, DEFAULT_LIMIT)
    .addOption(
      new Option('-o, --output <format>', 'output format')
        .choices(['table', 'wide', 'json', 'yaml', 'name'])
        .default('table'),
    )
    .action((names: string[], flags: import('./commands/get/runs.ts').GetRunsFlags) =>
      dispatch(async () => (await import('./commands/get/runs.ts')).getRuns(context, names, flags)),
    );
  get
    .command('clusters')
    .alias('cluster')
    .description('list clusters, and what they have')
    .addOption(
      new Option('-o, --output <format>', 'output format')
        .choices(['table', 'json', 'name'])
        .default('table'),
    )
    .action((flags: { readonly output: 'table' | 'json' | 'name' }) =>
      dispatch(async () => (await import('./commands/get/clusters.ts')).getClusters(context, flags)),
    );
}

function addDescribe(program: Command, context: CliContext, dispatch: Dispatch): void {
  const describe = program.command('describe').description('show details');
  describe
    .command('run')
    .alias('runs')
    .description('show metadata, lifecycle and submitted YAML of a run')
    .argument('[run]', 'name of the run; the latest by default')
    .option('--no-yaml', 'leave the submitted YAML out')
    .option('--yaml-only', 'print the submitted YAML alone')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['json', 'yaml']))
    .action((run: string | undefined, flags: import('./commands/describe/run.ts').DescribeRunFlags) =>
      dispatch(async () => (await import('./commands/describe/run.ts')).describeRun(context, run, flags)),
    );
  describe
    .command('cluster')
    .alias('clusters')
    .description('show the nodes of a cluster, and what runs on each')
    .argument('[cluster]', 'name of the cluster; the only one by default')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['json']))
    .action((cluster: string | undefined, flags: { readonly output?: 'json' }) =>
      dispatch(async () =>
        (await import('./commands/describe/cluster.ts')).describeCluster(context, cluster, flags),
      ),
    );
}

function addStop(program: Command, context: CliContext, dispatch: Dispatch): void {
  ending(program.command('stop').description('stop runs').command('run').alias('runs'))
    .description('stop runs: SIGTERM, grace, SIGKILL')
    .option('--reason <text>', 'why; shown by describe')
    .action((names: string[], flags: import('./commands/stop/run.ts').StopRunFlags) =>
      dispatch(async () => (await import('./commands/stop/run.ts')).stopRuns(context, names, flags)),
    );
}

function addDelete(program: Command, context: CliContext, dispatch: Dispatch): void {
  const remove = program.command('delete').alias('del').description('delete runs, secrets or nodes');
  addDeleteSecret(remove, context, dispatch);
  ending(remove.command('run').alias('runs'))
    .description('stop runs where needed, and remove them with their history')
    .action((names: string[], flags: import('./commands/end-runs.ts').EndFlags) =>
      dispatch(async () => (await import('./commands/delete/run.ts')).deleteRuns(context, names, flags)),
    );
  confirmed(onNode(remove))
    .description('remove a node that is gone or empty')
    .action((node: string, flags: ConfirmedNodeFlags) =>
      dispatch(async () => (await import('./commands/node-orders.ts')).deleteNode(context, node, flags)),
    );
}

function addScheduling(program: Command, context: CliContext, dispatch: Dispatch): void {
  program
    .command('update')
    .description('change runs')
    .command('run')
    .description('change how a queued or running run is scheduled')
    .argument('<run>', 'name of the run')
    .option('--priority <class>', 'highest, high, medium (auto), low or lowest')
    .option('--preemptible', 'may give way to higher priority')
    .option('--no-preemptible', 'keeps its GPUs')
    .option('--max-retries <n>', 'retries after failures of the run itself', wholeNumber)
    .option('--max-duration <hours>', 'stop the run so many hours after its first start', hours)
    .action((run: string, flags: import('./commands/update/run.ts').UpdateRunFlags) =>
      dispatch(async () => (await import('./commands/update/run.ts')).updateRun(context, run, flags)),
    );
  program
    .command('watchdog')
    .description('let a run start again by itself after failures')
    .argument('<run>', 'name of the run')
    .option('--disable', 'no longer after failures of its node or of the system')
    .option('--max-retries <n>', 'retries after failures of the run itself (10)', wholeNumber)
    .action((run: string, flags: import('./commands/watchdog.ts').WatchdogFlags) =>
      dispatch(async () => (await import('./commands/watchdog.ts')).watchdog(context, run, flags)),
    );
  program
    .command('explain')
    .description('say what blocks a queued run, and the smallest change that would start it now')
    .argument('[run]', 'name of the run; the latest by default')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['json']))
    .action((run: string | undefined, flags: { readonly output?: 'json' }) =>
      dispatch(async () => (await import('./commands/explain.ts')).explainRun(context, run, flags)),
    );
}

function addNodeOrders(program: Command, context: CliContext, dispatch: Dispatch): void {
  onNode(program.command('cordon').description('keep new runs away'))
    .description('start no new runs on a node; those on it go on')
    .option('--reason <text>', 'why, for everybody who looks at the cluster')
    .action((node: string, flags: CordonFlags) =>
      dispatch(async () => (await import('./commands/node-orders.ts')).cordonNode(context, node, flags)),
    );
  onNode(program.command('uncordon').description('let new runs in again'))
    .description('let runs start on a node again')
    .action((node: string, flags: NodeFlags) =>
      dispatch(async () => (await import('./commands/node-orders.ts')).uncordonNode(context, node, flags)),
    );
  confirmed(onNode(program.command('drain').description('move runs away')))
    .description('cordon a node, and move its runs away: each starts again as its next resumption')
    .action((node: string, flags: ConfirmedNodeFlags) =>
      dispatch(async () => (await import('./commands/node-orders.ts')).drainNode(context, node, flags)),
    );
}

type CordonFlags = import('./commands/node-orders.ts').CordonFlags;
type NodeFlags = import('./commands/node-orders.ts').NodeFlags;
type ConfirmedNodeFlags = import('./commands/node-orders.ts').ConfirmedNodeFlags;

function addUtil(program: Command, context: CliContext, dispatch: Dispatch): void {
  program
    .command('util')
    .alias('utilization')
    .description('show how clusters are used, who runs, who waits and why')
    .argument('[clusters...]', 'names of clusters; all by default')
    .addOption(
      new Option('-o, --output <format>', 'output format').choices(['table', 'json']).default('table'),
    )
    .action((names: string[], flags: { readonly output: 'table' | 'json' }) =>
      dispatch(async () => (await import('./commands/util.ts')).util(context, names, flags)),
    );
}

function addStack(program: Command, context: CliContext, dispatch: Dispatch): void {
  program
    .command('up')
    .description('start the local stack on this machine; what is set here is kept')
    .option('--cluster <name>', 'name of the cluster (r1z1)')
    .option('--nodes <n>', 'how many nodes this machine stands for (1)', wholeNumber)
    .option('--gpus <n>', 'GPUs per node, declared; auto: those that nvidia-smi finds', gpuCount)
    .option('--gpu-type <type>', 'type of the declared GPUs, for instance a100_80gb')
    .option('--cpu-slots <n>', 'how many runs without GPUs a node takes at once', wholeNumber)
    .option('--container-network <mode>', 'Docker network mode of all runs, for instance host')
    .action((changes: StackChanges) =>
      dispatch(async () => {
        const { up } = await import('./commands/up.ts');
        return await up(context, changes);
      }),
    );
  program
    .command('status')
    .description('show the parts of the local stack, with address, pid, uptime and health')
    .addOption(
      new Option('-o, --output <format>', 'output format').choices(['table', 'json']).default('table'),
    )
    .action((flags: { readonly output: 'table' | 'json' }) =>
      dispatch(async () => {
        const { status } = await import('./commands/status.ts');
        return await status(context, flags);
      }),
    );
  program
    .command('down')
    .description('stop the local stack; its data stays, and containers of runs go on')
    .action(() =>
      dispatch(async () => {
        const { down } = await import('./commands/down.ts');
        return await down(context);
      }),
    );
}

function gpuCount(text: string): number | 'auto' {
  return text === 'auto' ? 'auto' : wholeNumber(text);
}

function selection(command: Command): Command {
  return command
    .option('-c, --cluster <names>', 'on these clusters')
    .option('-s, --status <statuses>', 'with these statuses')
    .option('-t, --gpu-type <types>', 'with these GPU types')
    .option('-n, --gpu-num <counts>', 'with these numbers of GPUs')
    .option('-u, --user <users>', 'of these users')
    .option('--before <time>', 'created before')
    .option('--after <time>', 'created at or after')
    .option('-l, --latest', 'only the newest');
}

function ending(command: Command): Command {
  return confirmed(
    selection(command).argument('[runs...]', 'names or globs').option('-a, --all', 'all runs'),
  );
}

function onNode(verb: Command): Command {
  return verb
    .command('node')
    .argument('<node>', 'name of the node')
    .option('--cluster <name>', 'of this cluster, where several have a node of this name');
}

function confirmed(command: Command): Command {
  return command
    .option('-y, --yes', 'do not ask')
    .addOption(new Option('--force').implies({ yes: true }).hideHelp());
}

function wholeNumber(text: string): number {
  if (/^\d+$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be a whole number, 0 or more.');
}

function hours(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value > 0) return value;
  throw new InvalidArgumentError('It must be a number of hours above 0.');
}

function limit(text: string): number {
  return text === 'none' ? Infinity : wholeNumber(text);
}

function commaList(text: string): string[] {
  return text
    .split(',')
    .map((word) => word.trim())
    .filter(Boolean);
}
