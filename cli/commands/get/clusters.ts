/** `mcli get clusters`: what there is to run on. */
import type { CliContext } from '../../context.ts';
import { EXIT } from '../../errors.ts';
import { clusterAsJson, renderClusters } from '../../output/clusters.ts';

export async function getClusters(
  context: CliContext,
  { output }: { readonly output: 'table' | 'json' | 'name' },
): Promise<number> {
  const views = await (await context.mcli()).clusters.list();
  if (output === 'json') context.print(JSON.stringify(views.map(clusterAsJson), null, 2));
  else if (output === 'name') for (const { snapshot } of views) context.print(snapshot.cluster);
  else if (views.length === 0) context.say('No clusters found. On this machine: mcli up');
  else context.print(renderClusters(views));
  return EXIT.ok;
}
