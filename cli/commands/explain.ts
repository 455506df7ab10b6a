/** `mcli explain`: what blocks a queued run, who is ahead and why, and what would start it now. */
import type { RunDetails } from '../../client/index.ts';
import { remedies } from '../../core/remedies.ts';
import type { CliContext } from '../context.ts';
import { CliError, EXIT } from '../errors.ts';
import { explanationAsJson, renderExplanation } from '../output/explain.ts';
import type { Explanation } from '../output/explain.ts';
import { statusWithReason } from '../output/runs.ts';
import { latestRun } from '../select-runs.ts';
import type { ClusterView } from '../../workflows/messages.ts';

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
  const now = Date.now();
  const explanation = explanationOf(run, await mcli.clusters.list(), now);
  context.print(
    output === 'json'
      ? JSON.stringify(explanationAsJson(explanation), null, 2)
      : renderExplanation(explanation, now),
  );
  return EXIT.ok;
}

function explanationOf(run: RunDetails, views: readonly ClusterView[], now: number): Explanation {
  const home = views.find(({ snapshot }) => snapshot.cluster === run.resources?.cluster);
  const request = home?.snapshot.queue.find((request) => request.run === run.name);
  const place = home?.waiting.find((waiting) => waiting.run === run.name);
  if (!home || !request || !place) {
    throw new CliError({
      message: `Run ${run.name} is not in the queue of its cluster at the moment`,
      why: 'it is about to start, about to queue again, or its cluster has just been started anew',
      fix: `Ask again in a moment: mcli explain ${run.name}`,
    });
  }
  const others = views.filter((view) => view !== home);
  return {
    request,
    cluster: home.snapshot.cluster,
    place,
    queued: home.queued,
    ahead: runsAhead(home, request, place.position),
    remedies: remedies({ request, spec: run.input.spec, home, others, now }),
  };
}

/** Those in front of it that want the same kind of capacity: the others are not in its way. */
function runsAhead(
  { snapshot, waiting }: ClusterView,
  request: Explanation['request'],
  position: number,
): Explanation['ahead'] {
  const requests = new Map(snapshot.queue.map((other) => [other.run, other]));
  return waiting
    .filter((other) => other.position < position)
    .flatMap((place) => {
      const other = requests.get(place.run);
      const sameKind = other?.gpuType === request.gpuType && other.gpus > 0 === request.gpus > 0;
      return other && sameKind ? [{ place, request: other }] : [];
    });
}
