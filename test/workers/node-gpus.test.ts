import { expect, it } from 'vitest';
import { createNvidiaSmi } from '../../activities/nvidia-smi.ts';
import { detectGpus, offeredGpus } from '../../workers/node-gpus.ts';

it.each([
  ['NVIDIA A100-SXM4-80GB, 81920 MiB', 'a100_80gb'],
  ['NVIDIA A100-PCIE-40GB, 40960 MiB', 'a100_40gb'],
  ['NVIDIA H100 80GB HBM3, 81559 MiB', 'h100_80gb'],
  ['NVIDIA H100 NVL, 95830 MiB', 'h100_94gb'],
  ['NVIDIA H200, 143771 MiB', 'h200_141gb'],
  ['Tesla V100-SXM2-16GB, 16160 MiB', 'v100_16gb'],
  ['Tesla V100-SXM2-32GB, 32510 MiB', 'v100_32gb'],
  ['Tesla T4, 15360 MiB', 't4'],
  ['Tesla K80, 11441 MiB', 'k80'],
  ['NVIDIA A10, 23028 MiB', 'a10'],
  ['NVIDIA A10G, 23028 MiB', 'a10g'],
  ['NVIDIA GeForce RTX 3090, 24576 MiB', '3090'],
  ['NVIDIA GeForce RTX 3080 Ti, 12288 MiB', '3080ti'],
])('%s is of the type %s', (line, type) => {
  const row = line.replace(' MiB', '').split(', ');
  expect(offeredGpus([row, row])).toEqual({ type, count: 2 });
});

it('a machine without GPUs has none, and one with two types must say what it offers', () => {
  expect(offeredGpus([])).toBeUndefined();
  expect(() =>
    offeredGpus([
      ['Tesla T4', '15360'],
      ['NVIDIA A10', '23028'],
    ]),
  ).toThrow('MCLI_NODE_GPUS');
});

it('a machine without nvidia-smi has none, and one where it fails is not guessed at', async () => {
  expect(await detectGpus(createNvidiaSmi('no-such-nvidia-smi'))).toBeUndefined();
  await expect(detectGpus(createNvidiaSmi('false'))).rejects.toThrow("The node's GPUs are unknown");
});
