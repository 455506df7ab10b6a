import { expect, it } from 'vitest';
import type { Mcli } from '../../cli/context.ts';
import { findNode } from '../../cli/select-clusters.ts';
import { emptyCluster } from '../../core/cluster-state.ts';
import { Ledger } from '../../workflows/ledger.ts';

it('finds a node that only a lease names, since its cluster has lost its memory', async () => {
  const ledger = new Ledger(emptyCluster('c', 0));
  const request = {
    run: 'a',
    resumption: 0,
    user: 'ann',
    name: 'a',
    priority: 'medium',
    preemptible: false,
    gpuType: 'a100_80gb',
    gpus: 1,
    nodes: 1,
    gpusPerNode: 1,
    nodeNames: [],
    createdAt: 0,
  } as const;
  ledger.request(request, { request, fence: 1, ranks: [{ node: 'gone', gpuIds: [0] }], grantedAt: 0 });
  const mcli = { clusters: { list: () => Promise.resolve([ledger.view()]) } } as unknown as Mcli;
  expect(await findNode(mcli, 'gone', undefined)).toMatchObject({ cluster: 'c', node: { alive: false } });
  await expect(findNode(mcli, 'other', undefined)).rejects.toThrow('No node found with name: other');
});
