/**
 * Health check of a worker's container: `node deploy/worker-health.ts TASK-QUEUE`. Healthy means that Temporal has seen
 * a worker of this machine poll the queue lately; a process that hangs is alive, but not healthy. Says on stderr why not.
 */
import { hostname } from 'node:os';
import { Connection } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import proto from '@temporalio/proto';

const CONNECT_TIMEOUT_MS = 5_000;
/** A poll lasts a minute when there is nothing to do. */
const LATELY_MS = 120_000;

const { TaskQueueType } = proto.temporal.api.enums.v1;

const [taskQueue] = process.argv.slice(2);
if (taskQueue === undefined) throw new Error('usage: worker-health.ts TASK-QUEUE');

const { connectionOptions, namespace = 'mcli' } = loadClientConnectConfig();
const connection = await Connection.connect({ ...connectionOptions, connectTimeout: CONNECT_TIMEOUT_MS });
try {
  const { pollers } = await connection.workflowService.describeTaskQueue({
    namespace,
    taskQueue: { name: taskQueue },
    // A node agent has no workflows.
    taskQueueType: taskQueue.startsWith('node/')
      ? TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
      : TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
  });
  const polled = (pollers ?? [])
    .filter(({ identity }) => identity?.endsWith(`@${hostname()}`))
    .some(({ lastAccessTime }) => Date.now() - Number(lastAccessTime?.seconds ?? 0) * 1_000 < LATELY_MS);
  if (!polled) throw new Error(`No worker of ${hostname()} polls the task queue ${taskQueue}`);
} finally {
  await connection.close();
}
