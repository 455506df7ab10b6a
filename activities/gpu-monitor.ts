/** What nvidia-smi tells of the GPUs of this machine: what they do, and what is wrong with them. */
import type { GpuHealth } from '../core/node-health.ts';
import type { GpuSample } from '../core/usage.ts';
import type { NvidiaSmi } from './nvidia-smi.ts';

export interface GpuMonitor {
  /** Of all GPUs that can tell; none when nvidia-smi fails. Callers within some seconds share an answer. */
  usage(): Promise<readonly GpuSample[]>;
  health(): Promise<Omit<GpuHealth, 'offered'>>;
}

const SHARED_MS = 5_000;
const MEBIBYTE = 1024 ** 2;

export function createGpuMonitor(nvidiaSmi: NvidiaSmi): GpuMonitor {
  let shared: { readonly at: number; readonly samples: Promise<readonly GpuSample[]> } | undefined;
  return {
    usage() {
      if (shared === undefined || Date.now() - shared.at > SHARED_MS) {
        // What is wrong is told by the node's health.
        shared = { at: Date.now(), samples: sample().catch(() => []) };
      }
      return shared.samples;
    },

    async health() {
      try {
        const gpus = await nvidiaSmi.query('query-gpu', [
          'index',
          'uuid',
          'ecc.errors.uncorrected.volatile.total',
        ]);
        // Older GPUs have no spare rows, and nvidia-smi may fail for that.
        const rows = await nvidiaSmi
          .query('query-remapped-rows', ['gpu_uuid', 'remapped_rows.pending', 'remapped_rows.failure'])
          .catch((): string[][] => []);
        const problems = gpus.flatMap(([index = '', uuid = '', errors = '']) => {
          const [, pending = '', failure = ''] = rows.find(([other]) => other === uuid) ?? [];
          return gpuProblems({ errors, pending, failure }).map((problem) => `GPU ${index}: ${problem}`);
        });
        return { seen: gpus.length, problems };
      } catch (error) {
        return { problems: [`${error instanceof Error ? error.message : String(error)}.`] };
      }
    },
  };

  async function sample(): Promise<GpuSample[]> {
    const fields = ['index', 'utilization.gpu', 'memory.used', 'memory.total'];
    const rows = await nvidiaSmi.query('query-gpu', fields);
    return rows
      .map((cells) => cells.map(Number))
      .filter((numbers) => numbers.length === fields.length && numbers.every(Number.isFinite))
      .map(([gpu = 0, utilizationPercent = 0, used = 0, total = 0]) => ({
        gpu,
        utilizationPercent,
        memoryBytes: used * MEBIBYTE,
        memoryTotalBytes: total * MEBIBYTE,
      }));
  }
}

function gpuProblems(said: {
  readonly errors: string;
  readonly pending: string;
  readonly failure: string;
}): string[] {
  const problems: string[] = [];
  const complaint = Object.values(said).find((cell) => /^\[.*\]$/.test(cell) && !CANNOT_TELL.test(cell));
  if (complaint !== undefined) problems.push(`nvidia-smi says ${complaint}.`);
  if (Number(said.errors) > 0) {
    problems.push(`${said.errors} memory errors that could not be corrected since the driver was loaded.`);
  }
  if (YES.test(said.pending)) problems.push('a bad row of its memory is replaced with the next reset.');
  if (YES.test(said.failure)) problems.push('a bad row of its memory could not be replaced.');
  return problems;
}

/** Of a GPU without the feature. */
const CANNOT_TELL = /N\/A|not supported/i;
const YES = /^(?:yes|1)$/i;
