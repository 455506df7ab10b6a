import { describe, expect, it } from 'vitest';
import { emptyHistory } from '../../core/estimates.ts';
import { explain } from '../../core/explain.ts';
import { plan } from '../../core/scheduler.ts';
import { aCluster, aLease, aNode, aRun, HOUR_MS } from '../support/clusters.ts';

const NOW = 60_000;
const leases = [aLease(aRun('old', { gpus: 4, maxDurationMs: 2 * HOUR_MS }), 'n1')];
const head = aRun('head', { gpus: 8, priority: 'high' });

describe('explain', () => {
  it('says what blocks a run, who is ahead and who holds the GPUs', () => {
    const long = aRun('long', { gpus: 2, maxDurationMs: 90 * HOUR_MS, createdAt: 1 });
    const told = explain(aCluster({ leases, queue: [head, long] }), NOW, emptyHistory(), 'long');
    expect(told).toMatchObject({
      position: 2,
      obstacle: { type: 'reserved', for: { run: 'head' } },
      ahead: [{ run: 'head', gpus: 8, why: "its priority is high, this run's is medium" }],
      aheadInAll: 1,
      holders: [{ run: 'old', gpus: 4, expectedEnd: 2 * HOUR_MS }],
    });
  });

  it('finds the longest limit that would start the run now', () => {
    const long = aRun('long', { gpus: 2, maxDurationMs: 90 * HOUR_MS });
    const told = explain(aCluster({ leases, queue: [head, long] }), NOW, emptyHistory(), 'long');
    expect(told?.changes).toEqual([
      { type: 'shorter-limit', says: 'set scheduling.max_duration to 1.98 hours' },
    ]);
  });

  it('finds the most GPUs that would start the run now', () => {
    const told = explain(aCluster({ leases, queue: [aRun('run', { gpus: 8 })] }), NOW, emptyHistory(), 'run');
    expect(told?.changes).toEqual([{ type: 'fewer-gpus', says: 'ask for 4 GPUs' }]);
  });

  it('finds fewer nodes for a gang, other nodes for a run that names its own, and other clusters', () => {
    const nodes = [aNode('n1'), aNode('n2'), aNode('n3')];
    const gang = aRun('gang', { gpus: 24, nodes: 3 });
    const pinned = aRun('pinned', { gpus: 8, nodeNames: ['n1'], createdAt: 1 });
    const other = aCluster({ cluster: 'other', nodes });
    const changes = (run: typeof gang) =>
      explain(aCluster({ nodes, leases, queue: [run] }), NOW, emptyHistory(), run.run, [other])?.changes;
    expect(changes(gang)).toEqual([
      { type: 'fewer-nodes', says: 'ask for 16 GPUs on 2 nodes' },
      { type: 'other-cluster', says: 'submit it to cluster other' },
    ]);
    expect(changes(pinned)?.map(({ type }) => type)).toEqual(['fewer-gpus', 'any-node', 'other-cluster']);
  });

  it('advises nothing that the planner would not do', () => {
    const cluster = aCluster({
      leases,
      queue: [head, aRun('run', { gpus: 4, maxDurationMs: 90 * HOUR_MS })],
    });
    const told = explain(cluster, NOW, emptyHistory(), 'run');
    expect(told?.changes.map(({ type }) => type)).toEqual(['shorter-limit']);
    const changed = aRun('run', { gpus: 4, maxDurationMs: 1.98 * HOUR_MS });
    const admitted = plan({ ...cluster, queue: [head, changed] }, NOW, emptyHistory());
    expect(admitted).toContainEqual(expect.objectContaining({ type: 'ADMIT' }));
  });

  it('has nothing to say about a run that does not wait', () => {
    expect(explain(aCluster({ queue: [head] }), NOW, emptyHistory(), 'head')).toBeUndefined();
    expect(explain(aCluster(), NOW, emptyHistory(), 'nobody')).toBeUndefined();
  });
});
