import { describe, expect, test } from 'vitest';
import type { ClusterNode } from '../../core/cluster.ts';
import { type ClusterInventory, resolveResources } from '../../core/resources.ts';
import { readRunFile } from '../../core/run-file.ts';

describe('what a file leaves open is filled in where one value makes sense', () => {
  test.each<[string, string, readonly ClusterInventory[], object]>([
    [
      'no GPUs on the only cluster',
      'gpus: 0',
      [h100(3)],
      { cluster: 'h100', gpuType: null, gpus: 0, nodes: 1 },
    ],
    ['the type none', 'gpu_type: none', [h100(3)], { gpuType: null, gpus: 0 }],
    ['no word about GPUs on a cluster without any', '', [cpu(1)], { cluster: 'cpu', gpuType: null, gpus: 0 }],
    ['a part of a node', 'gpus: 3', [h100(1)], { gpuType: 'h100_80gb', gpus: 3, nodes: 1, gpusPerNode: 3 }],
    ['several nodes', 'gpus: 24', [h100(3)], { gpus: 24, nodes: 3, gpusPerNode: 8 }],
    ['an equal share on several nodes', 'gpus: 12', [h100(3)], { gpus: 12, nodes: 2, gpusPerNode: 6 }],
    ['whole nodes', 'nodes: 2', [h100(3)], { gpus: 16, nodes: 2, gpusPerNode: 8 }],
    [
      'fewer GPUs on each of several nodes',
      '{gpus: 4, nodes: 2}',
      [h100(3)],
      { gpus: 4, nodes: 2, gpusPerNode: 2 },
    ],
    ['the only cluster that is large enough', 'gpus: 24', [h100(2), a100(4)], { cluster: 'a100', gpus: 24 }],
    [
      'the only cluster with that type',
      '{gpus: 1, gpu_type: H100_80GB}',
      [h100(2), a100(4)],
      { cluster: 'h100', gpuType: 'h100_80gb' },
    ],
    [
      'named nodes',
      '{node_names: [h100-1, h100-2]}',
      [h100(3)],
      { gpus: 16, nodes: 2, nodeNames: ['h100-1', 'h100-2'] },
    ],
    [
      'smaller nodes where the large are too few',
      'gpus: 16',
      [{ cluster: 'm', nodes: [node('a', 8), ...[1, 2, 3, 4].map((n) => node(`b${n}`, 4))] }],
      { nodes: 4, gpusPerNode: 4 },
    ],
    [
      'the only GPU there is',
      'gpu_type: a10',
      [{ cluster: 'one', nodes: [node('n', 1, 'a10')] }],
      { gpus: 1, nodes: 1 },
    ],
    ['an instance', '{instance: 8xh100_80gb, nodes: 2}', [h100(3)], { gpus: 16, nodes: 2 }],
    ['the instance cpu', 'instance: cpu', [cpu(1)], { gpus: 0 }],
    [
      'cordoned and lost nodes, which come back',
      'gpus: 8',
      [{ cluster: 'c', nodes: [{ ...node('a', 8), alive: false }] }],
      { gpus: 8 },
    ],
  ])('%s', (_, compute, clusters, expected) => {
    const answer = resolve(compute, clusters);
    expect(answer.ok ? answer.resources : answer.problems).toMatchObject(expected);
  });
});

describe('what no cluster can hold, or several could, is refused with what there is', () => {
  test.each<[string, string, readonly ClusterInventory[], string, string, string]>([
    [
      'more GPUs than there are',
      '{gpus: 32, nodes: 4}',
      [h100(3)],
      'Run llama-7b can never fit on cluster h100',
      'it asks for 32 GPUs on 4 nodes; there is h100 with 24 h100_80gb GPUs on 3 nodes (8 each)',
      'lower compute.gpus, or change compute.nodes',
    ],
    [
      'more GPUs than any cluster has',
      'gpus: 100',
      [h100(2), a100(1)],
      'Run llama-7b can never fit on any of the clusters h100, a100',
      'it asks for 100 GPUs; there is h100 with 16 h100_80gb GPUs on 2 nodes (8 each); a100 with 8 a100_80gb GPUs on 1 node',
      'lower compute.gpus, for instance to 16, or pick another cluster (mcli get clusters)',
    ],
    [
      'a number that nodes cannot share',
      'gpus: 9',
      [h100(3)],
      'Run llama-7b can never fit on cluster h100',
      'it asks for 9 GPUs; there is h100 with 24 h100_80gb GPUs on 3 nodes (8 each)',
      'lower compute.gpus, for instance to 8, or pick another cluster (mcli get clusters)',
    ],
    [
      'an unknown cluster',
      'cluster: h10',
      [h100(1), a100(1)],
      'There is no cluster h10 (did you mean h100?)',
      'there is h100 with 8 h100_80gb GPUs on 1 node; a100 with 8 a100_80gb GPUs on 1 node',
      'set compute.cluster or --cluster to h100 or a100, or leave it out',
    ],
    [
      'an unknown GPU type',
      '{gpus: 1, gpu_type: h100}',
      [h100(1)],
      'There are no GPUs of the type h100 (did you mean h100_80gb?)',
      'there is h100 with 8 h100_80gb GPUs on 1 node',
      'set compute.gpu_type or --gpu-type to h100_80gb, or leave it out',
    ],
    [
      'no word about GPUs',
      '',
      [h100(1)],
      'Run llama-7b does not say how many GPUs it needs',
      'several numbers make sense: there is h100 with 8 h100_80gb GPUs on 1 node',
      'set compute.gpus or --gpus; 0 is a run without GPUs',
    ],
    [
      'several clusters that would do',
      'gpus: 8',
      [h100(1), a100(1)],
      'Run llama-7b does not say which cluster it wants: h100 and a100 would do',
      'it asks for 8 GPUs; there is h100 with 8 h100_80gb GPUs on 1 node; a100 with 8 a100_80gb GPUs on 1 node',
      'set compute.cluster or --cluster to h100 or a100',
    ],
    [
      'several types that would do',
      'gpus: 1',
      [{ cluster: 'mix', nodes: [node('a', 8, 'a100'), node('b', 4, 'h100')] }],
      'Run llama-7b does not say which GPU type it wants: a100 and h100 would do',
      'it asks for 1 GPU; there is mix with 8 a100 GPUs on 1 node and 4 h100 GPUs on 1 node',
      'set compute.gpu_type or --gpu-type to a100 or h100',
    ],
    [
      'GPUs of the type none',
      '{gpus: 2, gpu_type: none}',
      [h100(1)],
      'compute asks for 2 GPUs of the type none',
      'none stands for a run without GPUs',
      'name a GPU type, or set compute.gpus: 0',
    ],
    [
      'an unknown node',
      '{gpus: 8, node_names: [h100-9]}',
      [h100(2)],
      'There is no node h100-9',
      'there are h100-1, h100-2',
      'did you mean h100-1?',
    ],
    [
      'an unknown instance',
      'instance: 4xh100_80gb',
      [h100(2)],
      'There is no instance 4xh100_80gb (did you mean 8xh100_80gb?)',
      'the clusters have 8xh100_80gb',
      'take one of these, or leave compute.instance out and say compute.gpus and compute.gpu_type',
    ],
    [
      'anything where nothing is',
      'gpus: 0',
      [],
      'There is no cluster yet',
      'no node has reported for duty',
      'start the local stack with mcli up, or a node agent on a GPU machine',
    ],
    [
      'GPUs where there are none',
      'gpus: 1',
      [cpu(1)],
      'Run llama-7b can never fit on cluster cpu',
      'it asks for 1 GPU; there is cpu with 1 node without GPUs',
      'set compute.gpus or --gpus to 0 for a run without GPUs',
    ],
  ])('%s', (_, compute, clusters, message, why, fix) => {
    const answer = resolve(compute, clusters);
    expect(answer.ok ? answer.resources : answer.problems).toEqual([{ message, why, fix }]);
  });

  test('without a countdown that never ends', () => {
    const started = performance.now();
    expect(resolve('gpus: 9007199254740991', [h100(500)]).ok).toBe(false);
    expect(performance.now() - started).toBeLessThan(2_000);
  });
});

test('warns of fields without effect, and of a run that has to wait for its nodes', () => {
  const away = { cluster: 'c', nodes: [{ ...node('a', 8), cordoned: true }, node('b', 8)] };
  const answer = resolve('{gpus: 16, cpus: 3}', [away]);
  expect(answer.ok ? answer.warnings : []).toEqual([
    'compute.cpus has no effect: a run without GPUs takes a CPU slot',
    'The run will wait: 1 of the 2 nodes of c that could take it are in service, and it needs 2',
  ]);
});

test('refuses a file that is too large for all its nodes together', () => {
  const command = `echo ${'x'.repeat(100 * 1024)}`;
  expect(resolve('gpus: 80', [h100(40)], command).ok).toBe(true);
  expect(resolve('gpus: 320', [h100(40)], command)).toMatchObject({
    problems: [{ message: 'The file of run llama-7b is too large for 40 nodes' }],
  });
});

function resolve(
  compute: string,
  clusters: readonly ClusterInventory[],
  command = 'x',
): ReturnType<typeof resolveResources> {
  const section = compute.startsWith('{') ? compute : `{${compute}}`;
  const file = readRunFile(`name: llama-7b\nimage: bash\ncommand: ${command}\ncompute: ${section}\n`);
  if (!file.ok) throw new Error(JSON.stringify(file.problems));
  return resolveResources(file.spec, clusters);
}

function h100(nodes: number): ClusterInventory {
  return gpuCluster('h100', 'h100_80gb', nodes);
}

function a100(nodes: number): ClusterInventory {
  return gpuCluster('a100', 'a100_80gb', nodes);
}

function cpu(nodes: number): ClusterInventory {
  return {
    cluster: 'cpu',
    nodes: Array.from({ length: nodes }, (_, n) => ({ ...node(`cpu-${n + 1}`, 0), gpuType: null })),
  };
}

function gpuCluster(cluster: string, gpuType: string, nodes: number): ClusterInventory {
  return {
    cluster,
    nodes: Array.from({ length: nodes }, (_, n) => node(`${cluster}-${n + 1}`, 8, gpuType)),
  };
}

function node(name: string, gpus: number, gpuType = 'h100_80gb'): ClusterNode {
  return { node: name, gpuType, gpus, cpuSlots: 2, address: '127.0.0.1', alive: true, cordoned: false };
}
