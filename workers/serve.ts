/** What the control and the cluster worker share: connection, bundle, and a life until somebody ends it. */
import { Client } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { NativeConnection, Runtime, Worker, makeTelemetryFilterString } from '@temporalio/worker';
import type { WorkerOptions } from '@temporalio/worker';
import { NAMESPACE } from '../core/naming.ts';
import { announceReady, watchParent } from '../stack/parent-watch.ts';
import { leaveWhenTold } from './leave-when-told.ts';
import { patiently } from './patiently.ts';

export interface ServedWorker {
  readonly taskQueue: string;
  /** File name in the folder of the built worker. */
  readonly workflowBundle: string;
  readonly maxCachedWorkflows: number;
  readonly activities: (temporal: Client) => object;
  /** Work beside the task queue, until the process ends. */
  readonly meanwhile?: (temporal: Client) => void;
}

/** Runs until SIGTERM or SIGINT; a server that is away is waited for. */
export async function serve(options: ServedWorker): Promise<void> {
  Runtime.install({
    telemetryOptions: {
      logging: { filter: makeTelemetryFilterString({ core: 'ERROR', other: 'ERROR' }) },
    },
  });
  const stay = leaveWhenTold();
  watchParent();
  const { connectionOptions, namespace = NAMESPACE } = loadClientConnectConfig();
  const connection = await patiently('Temporal', () => NativeConnection.connect(connectionOptions));
  const temporal = new Client({ connection, namespace });
  const bundled: WorkerOptions['workflowBundle'] = {
    codePath: new URL(options.workflowBundle, import.meta.url).pathname,
  };
  const worker = await Worker.create({
    connection,
    namespace,
    taskQueue: options.taskQueue,
    workflowBundle: bundled,
    activities: options.activities(temporal),
    maxCachedWorkflows: options.maxCachedWorkflows,
    // A workflow whose worker was killed goes on with another one after this, and not after ten seconds.
    stickyQueueScheduleToStartTimeout: '2s',
    // Activities here take milliseconds to seconds; a worker that is told to stop must not hang.
    shutdownForceTime: '10s',
  });
  const running = worker.run();
  stay();
  announceReady();
  await running;
  await connection.close();
}
