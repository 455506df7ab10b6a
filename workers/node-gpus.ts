/** The GPUs of a machine, as nvidia-smi names them and as run files do. */
import type { NvidiaSmi } from '../activities/nvidia-smi.ts';

export interface DetectedGpus {
  readonly type: string;
  readonly count: number;
}

/** @returns undefined on a machine without nvidia-smi or without GPUs. */
export async function detectGpus(nvidiaSmi: NvidiaSmi): Promise<DetectedGpus | undefined> {
  try {
    return offeredGpus(await nvidiaSmi.query('query-gpu', ['name', 'memory.total']));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Error(`The node's GPUs are unknown: ${String(error)}`, { cause: error });
  }
}

/**
 * @param rows like `NVIDIA A100-SXM4-80GB` and `81920` (MiB), one for each GPU
 * @throws Error when the machine has GPUs of several types: a node offers one.
 */
export function offeredGpus(rows: readonly (readonly string[])[]): DetectedGpus | undefined {
  const types = rows.map(([name = '', memory = '']) => gpuType(name, Number(memory)));
  const [type] = types;
  if (type === undefined) return undefined;
  const others = types.find((other) => other !== type);
  if (others !== undefined) {
    throw new Error(
      `This machine has GPUs of several types (${type}, ${others}), but a node offers one: declare them with ` +
        'MCLI_NODE_GPUS and MCLI_NODE_GPU_TYPE.',
    );
  }
  return { type, count: types.length };
}

/** Sold with several memory sizes under one name: the size is part of the type. */
const SIZES_GB: Readonly<Record<string, readonly number[]>> = {
  v100: [16, 32],
  a100: [40, 80],
  h100: [80, 94, 96],
  h200: [141],
};

/** `NVIDIA H100 80GB HBM3`, 81559 MiB → `h100_80gb`; `NVIDIA GeForce RTX 3090` → `3090`; `Tesla T4` → `t4`. */
function gpuType(name: string, memoryMiB: number): string {
  const words = name
    .toLowerCase()
    .replaceAll(/\b(?:nvidia|tesla|quadro|geforce|rtx|gtx)\b/g, '')
    .split(/[\s-]+/)
    .filter(Boolean);
  const model = words[0] ?? 'unknown';
  const sizes = SIZES_GB[model];
  if (sizes === undefined) return words.slice(1).includes('ti') ? `${model}ti` : model;
  const memoryGb = memoryMiB / 1024;
  const size = sizes.toSorted((a, b) => Math.abs(a - memoryGb) - Math.abs(b - memoryGb))[0];
  return `${model}_${size}gb`;
}
