import { expect, it } from 'vitest';
import type { Mcli } from '../../cli/context.ts';
import { findNode } from '../../cli/select-clusters.ts';
import { emptyCluster } from '../../core/cluster-state.ts';
import { Ledger } from '../../workflows/ledger.ts';
import { aLease, aRequest } from '../support/clusters.ts';

it('finds a node that only a lease names, since its cluster has lost its memory', async () => {
  const ledger = new Ledger(emptyCluster('c', 0));
  const request = aRequest('a');
  ledger.request(request, aLease(request, 'gone'));
  const mcli = { clusters: { list: () => Promise.resolve([ledger.view()]) } } as unknown as Mcli;
  expect(await findNode(mcli, 'gone', undefined)).toMatchObject({ cluster: 'c', node: { alive: false } });
  await expect(findNode(mcli, 'other', undefined)).rejects.toThrow('No node found with name: other');
});
