/** A worker of clusters as a process of its own, for tests that kill it. `node cluster-worker.ts ADDRESS BUNDLE`. */
import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { createClusterActivities } from '../../activities/clusters.ts';
import { CLUSTER_QUEUE } from '../../core/naming.ts';

const [address = '', codePath = ''] = process.argv.slice(2);
Runtime.install({ logger: new DefaultLogger('ERROR') });
const [connection, clientConnection] = await Promise.all([
  NativeConnection.connect({ address }),
  Connection.connect({ address }),
]);
const worker = await Worker.create({
  connection,
  taskQueue: CLUSTER_QUEUE,
  workflowBundle: { codePath },
  activities: createClusterActivities({ temporal: new Client({ connection: clientConnection }) }),
  // How long the server keeps tasks for a worker that was killed.
  stickyQueueScheduleToStartTimeout: '2s',
});
console.log('It polls.');
await worker.run();
