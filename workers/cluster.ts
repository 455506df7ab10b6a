/**
 * The cluster worker: cluster and node workflows. A process of its own, because a flood of signals to one cluster can
 * overrun a worker, and must not take the runs' worker with it.
 */
import { createClusterActivities } from '../activities/clusters.ts';
import { CLUSTER_QUEUE } from '../core/naming.ts';
import { keepClusters } from './cluster-keeper.ts';
import { serve } from './serve.ts';

await serve({
  taskQueue: CLUSTER_QUEUE,
  workflowBundle: 'workflows-cluster.js',
  maxCachedWorkflows: 2_000,
  activities: (temporal) => createClusterActivities({ temporal }),
  meanwhile: keepClusters,
});
