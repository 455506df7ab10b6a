/** The control worker: run workflows and their cluster-side activities. Stateless; any number may run. */
import { ClusterDirectory } from '../client/cluster-directory.ts';
import { createControlActivities } from '../activities/runs.ts';
import { CONTROL_QUEUE } from '../core/naming.ts';
import { serve } from './serve.ts';

await serve({
  taskQueue: CONTROL_QUEUE,
  workflowBundle: 'workflows-run.js',
  // About 0.3 MB each; an evicted run costs one short replay.
  maxCachedWorkflows: 1_000,
  activities: (temporal) => createControlActivities({ temporal, clusters: new ClusterDirectory(temporal) }),
});
