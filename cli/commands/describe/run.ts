/** `mcli describe run`: what it is, what happened to it, how far it is, what was submitted; and where it waits, if anybody can tell. */
import { stringify } from 'yaml';
import type { CliContext } from '../../context.ts';
import { EXIT } from '../../errors.ts';
import { descriptionAsJson, renderDescription } from '../../output/describe.ts';
import { latestRun } from '../../select-runs.ts';

export interface DescribeRunFlags {
  readonly yaml: boolean;
  readonly yamlOnly?: boolean;
  readonly output?: 'json' | 'yaml';
}

export async function describeRun(
  context: CliContext,
  name: string | undefined,
  flags: DescribeRunFlags,
): Promise<number> {
  const mcli = await context.mcli();
  const run = await mcli.runs.describe(name ?? (await latestRun(mcli)));
  if (flags.yamlOnly) {
    context.print(run.input.submittedYaml.trimEnd());
    return EXIT.ok;
  }
  const waiting =
    run.status === 'QUEUED' && run.resources
      ? await mcli.runs.queuePosition(run.name, run.resources.cluster)
      : undefined;
  const live = run.closed ? [] : ((await mcli.runs.reports([run.name])).get(run.name) ?? []);
  const ended = run.reports.filter(({ rank }) => live.every((other) => other.rank !== rank));
  const reports = [...live, ...ended].sort((a, b) => a.rank - b.rank);
  const trackers = await mcli.runs.trackers(run);
  const parts = { waiting, reports, live: live.length > 0, trackers };
  if (flags.output === 'json') context.print(JSON.stringify(descriptionAsJson(run, parts), null, 2));
  else if (flags.output === 'yaml') context.print(stringify(descriptionAsJson(run, parts)).trimEnd());
  else context.print(renderDescription(run, { ...parts, yaml: flags.yaml }, Date.now()));
  return EXIT.ok;
}
