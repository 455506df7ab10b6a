/** Samples how the node is, in the background: a heartbeat must not wait for a disk or a driver. */
import { availableParallelism, freemem, loadavg, totalmem } from 'node:os';
import type { GpuHealth, NodeHealth } from '../core/node-health.ts';
import type { DiskMeter } from './disk.ts';
import type { Docker } from './docker.ts';
import type { GpuMonitor } from './gpu-monitor.ts';
import { repeatedly } from './repeatedly.ts';

export interface NodeHealthWatch {
  /** The last sample; undefined before the first. */
  health(): NodeHealth | undefined;
  /** Samples at once and every 10 s, until `signal`. */
  watch(signal: AbortSignal): Promise<void>;
}

interface Dependencies {
  readonly docker: Pick<Docker, 'check'>;
  readonly disk: DiskMeter;
  /** Why the lease of the node can't be written. */
  readonly leaseError: () => string | undefined;
  /** Absent on a node whose GPUs are declared, and on one that has none. */
  readonly gpus?: { readonly monitor: GpuMonitor; readonly offered: number };
}

const SAMPLE_INTERVAL_MS = 10_000;
/** nvidia-smi costs the driver some work, and what it tells changes slowly. */
const GPU_INTERVAL_MS = 60_000;
/** A daemon that takes longer to list a container can't be worked with. */
const DOCKER_TIMEOUT_MS = 5_000;

export function createNodeHealth({ docker, disk, leaseError, gpus }: Dependencies): NodeHealthWatch {
  let last: NodeHealth | undefined;
  let gpuHealth: GpuHealth | undefined;
  return {
    health: () => last,
    async watch(signal) {
      if (gpus) {
        const { monitor, offered } = gpus;
        void repeatedly(GPU_INTERVAL_MS, signal, async () => {
          gpuHealth = { offered, ...(await monitor.health()) };
        });
      }
      await repeatedly(SAMPLE_INTERVAL_MS, signal, async () => {
        last = await sample();
      });
    },
  };

  async function sample(): Promise<NodeHealth> {
    const [dockerError, diskHealth] = await Promise.all([
      complaintOfDocker(),
      // The same daemon tells where its disk is: what is wrong with it is said once.
      disk().catch(() => undefined),
    ]);
    const unwritten = leaseError();
    return {
      sampledAt: Date.now(),
      ...(diskHealth && { disk: diskHealth }),
      ...(dockerError !== undefined && { dockerError }),
      ...(unwritten !== undefined && { leaseError: unwritten }),
      ...(gpuHealth && { gpus: gpuHealth }),
      load: loadavg()[0] ?? 0,
      cpus: availableParallelism(),
      memoryBytes: totalmem(),
      memoryFreeBytes: freemem(),
    };
  }

  async function complaintOfDocker(): Promise<string | undefined> {
    const timeout = AbortSignal.timeout(DOCKER_TIMEOUT_MS);
    try {
      await docker.check(timeout);
      return undefined;
    } catch (error) {
      if (timeout.aborted) return `it did not answer within ${DOCKER_TIMEOUT_MS / 1000} s`;
      return error instanceof Error ? error.message : String(error);
    }
  }
}
