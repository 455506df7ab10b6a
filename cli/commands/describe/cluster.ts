/** `mcli describe cluster`: its nodes, their state, and what runs on each. */
import type { CliContext } from '../../context.ts';
import { EXIT } from '../../errors.ts';
import { clusterAsJson, renderCluster } from '../../output/clusters.ts';
import { selectCluster } from '../../select-clusters.ts';

export async function describeCluster(
  context: CliContext,
  name: string | undefined,
  { output }: { readonly output?: 'json' },
): Promise<number> {
  const view = await selectCluster(await context.mcli(), name);
  context.print(output === 'json' ? JSON.stringify(clusterAsJson(view), null, 2) : renderCluster(view));
  return EXIT.ok;
}
