/**
 * Who polls which task queue, as Temporal sees it: a worker that hangs is alive for the system, but not here.
 * A module of its own, because it loads the whole Temporal client: only `mcli status` needs that.
 */
import { Connection } from '@temporalio/client';
import { temporal } from '@temporalio/proto';
import { NAMESPACE } from '../core/naming.ts';

const CONNECT_TIMEOUT_MS = 2_000;
const { TaskQueueType } = temporal.api.enums.v1;

export class Pollers {
  private readonly connection: Connection;

  private constructor(connection: Connection) {
    this.connection = connection;
  }

  /** Rejects when Temporal does not answer. */
  static async connect(address: string): Promise<Pollers> {
    return new Pollers(await Connection.connect({ address, connectTimeout: CONNECT_TIMEOUT_MS }));
  }

  /** Whether the process `pid` of this machine polls the queue; a worker's default identity begins with its pid. */
  async includes(
    { taskQueue, serves }: { readonly taskQueue: string; readonly serves: 'workflows' | 'activities' },
    pid: number,
  ): Promise<boolean> {
    const { pollers } = await this.connection.workflowService.describeTaskQueue({
      namespace: NAMESPACE,
      taskQueue: { name: taskQueue },
      taskQueueType:
        serves === 'workflows'
          ? TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
          : TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
    });
    return (pollers ?? []).some(({ identity }) => identity?.startsWith(`${pid}@`));
  }

  async close(): Promise<void> {
    await this.connection.close();
  }
}
