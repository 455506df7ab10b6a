/** `mcli util`: how the clusters are used, and why runs wait. */
import type { CliContext } from '../context.ts';
import { EXIT } from '../errors.ts';
import { renderUtil, utilAsJson } from '../output/util.ts';
import { selectClusters } from '../select-clusters.ts';

export async function util(
  context: CliContext,
  names: readonly string[],
  { output }: { readonly output: 'table' | 'json' },
): Promise<number> {
  const views = await selectClusters(await context.mcli(), names);
  const now = Date.now();
  if (output === 'json')
    context.print(
      JSON.stringify(
        views.map((view) => utilAsJson(view, now)),
        null,
        2,
      ),
    );
  else if (views.length === 0) context.say('No clusters found. On this machine: mcli up');
  else context.print(renderUtil(views, now));
  return EXIT.ok;
}
