/** `mcli describe cluster`: its nodes, their state and health, and what runs on each. */
import type { CliContext } from '../../context.ts';
import { EXIT } from '../../errors.ts';
import { clusterWithHealthAsJson, renderCluster } from '../../output/clusters.ts';
import { selectCluster } from '../../select-clusters.ts';

export async function describeCluster(
  context: CliContext,
  name: string | undefined,
  { output }: { readonly output?: 'json' },
): Promise<number> {
  const mcli = await context.mcli();
  const view = await selectCluster(mcli, name);
  const beats = await mcli.clusters.heartbeats(view);
  context.print(
    output === 'json'
      ? JSON.stringify(clusterWithHealthAsJson(view, beats), null, 2)
      : renderCluster(view, beats, Date.now()),
  );
  return EXIT.ok;
}
