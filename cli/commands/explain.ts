/** `mcli explain`: what blocks a queued run, who is ahead and why, who holds the GPUs, and what would start it now. */
import type { RunDetails } from '../../client/index.ts';
import { explain } from '../../core/explain.ts';
import type { ClusterView } from '../../workflows/messages.ts';
import type { CliContext } from '../context.ts';
import { CliError, EXIT } from '../errors.ts';
import { explanationAsJson, renderExplanation } from '../output/explain.ts';
import type { ExplainedRun } from '../output/explain.ts';
import { statusWithReason } from '../output/runs.ts';
import { latestRun } from '../select-runs.ts';

export async function explainRun(
  context: CliContext,
  name: string | undefined,
  { output }: { readonly output?: 'json' },
): Promise<number> {
  const mcli = await context.mcli();
  const run = await mcli.runs.describe(name ?? (await latestRun(mcli)));
  if (run.status !== 'QUEUED') {
    throw new CliError({
      message: `Run ${run.name} is not queued, so nothing keeps it waiting`,
      why: `its status is ${statusWithReason(run)}`,
      fix: `See what happened to it: mcli describe run ${run.name}`,
    });
  }
  const views = await mcli.clusters.list();
  const now = Date.now();
  const explained = explainedRun(run, views, now);
  context.print(
    output === 'json'
      ? JSON.stringify(explanationAsJson(explained), null, 2)
      : renderExplanation(explained, now),
  );
  return EXIT.ok;
}

function explainedRun(run: RunDetails, views: readonly ClusterView[], now: number): ExplainedRun {
  const home = views.find(({ snapshot }) => snapshot.cluster === run.resources?.cluster);
  const others = views.filter((view) => view !== home);
  const explanation = home && explain({ run: run.name, spec: run.input.spec, home, others, now });
  if (!explanation) {
    throw new CliError({
      message: `Run ${run.name} does not wait in the queue of its cluster at the moment`,
      why: 'it is about to start, about to queue again, or its cluster has just been started anew',
      fix: `Ask again in a moment: mcli explain ${run.name}`,
    });
  }
  return { ...explanation, cluster: home.snapshot.cluster, queued: home.queued };
}
