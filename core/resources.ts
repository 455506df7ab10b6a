/**
 * What a run takes of which cluster. What its file leaves open is filled in where only one value makes sense; a
 * request that no cluster could ever hold is refused at once, with what there is. Cordoned and lost nodes count as
 * what a cluster has: they come back.
 */
import type { ClusterNode } from './cluster.ts';
import type { Problem } from './run-problem.ts';
import type { ComputeRequest, ResourceRequest, RunSpec } from './run-spec.ts';
import { closest, didYouMean } from './suggest.ts';

export interface ClusterInventory {
  readonly cluster: string;
  readonly nodes: readonly ClusterNode[];
}

export type ResolvedResources =
  | { readonly ok: true; readonly resources: ResourceRequest; readonly warnings: readonly string[] }
  | { readonly ok: false; readonly problems: readonly Problem[] };

export function resolveResources(spec: RunSpec, clusters: readonly ClusterInventory[]): ResolvedResources {
  const wish = readWish(spec.compute, clusters);
  if ('message' in wish) return refuse(wish);
  const candidates = candidateClusters(spec.compute, clusters);
  if ('message' in candidates) return refuse(candidates);
  const unknownNode = findUnknownNode(spec.compute.nodeNames ?? [], candidates);
  if (unknownNode !== undefined) return refuse(unknownNode);

  const fits = candidates.flatMap((cluster) => fitsOn(cluster, wish));
  const [only, ...others] = fits;
  if (only === undefined) return refuse(explainNoFit(spec.name, wish, candidates));
  if (others.length > 0) return refuse(explainSeveral(spec.name, wish, fits, candidates));
  const tooLarge = explainTooLarge(spec, only.nodes);
  if (tooLarge !== undefined) return refuse(tooLarge);
  return { ok: true, resources: only, warnings: warningsFor(spec.compute, only, candidates) };
}

/** Of a message of Temporal, which may have 4 MB. */
const MAX_BYTES_OF_GANG = 3 * 1024 ** 2;

/** All nodes are told in one message what to run, and each the whole file. */
function explainTooLarge(spec: RunSpec, nodes: number): Problem | undefined {
  const bytes = new TextEncoder().encode(JSON.stringify(spec)).length;
  if (bytes * nodes <= MAX_BYTES_OF_GANG) return undefined;
  const kilobytes = (n: number): string => `${Math.ceil(n / 1024).toLocaleString('en-US')} kB`;
  return {
    message: `The file of run ${spec.name} is too large for ${nodes} nodes`,
    why: `each node is told all of it: ${nodes} × ${kilobytes(bytes)} is more than ${kilobytes(MAX_BYTES_OF_GANG)}`,
    fix: 'keep large parameters in a file in the image or in a bucket, and name that file here',
  };
}

/** A compute section whose parts agree with each other. */
interface Wish {
  /** A CPU run, a GPU run, or whatever the cluster has. */
  readonly kind: 'cpu' | 'gpu' | 'any';
  readonly gpuType?: string;
  readonly gpus?: number;
  readonly nodes?: number;
  readonly nodeNames: readonly string[];
}

function readWish(compute: ComputeRequest, clusters: readonly ClusterInventory[]): Wish | Problem {
  const instance = compute.instance === undefined ? {} : readInstance(compute.instance, compute, clusters);
  if ('message' in instance) return instance;
  const gpus = compute.gpus ?? instance.gpus;
  const type = compute.gpuType ?? instance.gpuType;
  const noType = type === undefined || /^none$/i.test(type);
  if (type !== undefined && noType && gpus !== undefined && gpus > 0) {
    return {
      message: `compute asks for ${gpus} GPUs of the type none`,
      why: 'none stands for a run without GPUs',
      fix: 'name a GPU type, or set compute.gpus: 0',
    };
  }
  const cpu = gpus === 0 || (type !== undefined && noType);
  return {
    kind: cpu ? 'cpu' : gpus !== undefined || !noType ? 'gpu' : 'any',
    ...(cpu || noType ? {} : { gpuType: type }),
    ...(gpus === undefined ? {} : { gpus }),
    ...(compute.nodes === undefined ? {} : { nodes: compute.nodes }),
    nodeNames: compute.nodeNames ?? [],
  };
}

/** An instance is a kind of node: `8xa100_80gb`, or `cpu`. */
function readInstance(
  instance: string,
  compute: ComputeRequest,
  clusters: readonly ClusterInventory[],
): Pick<Wish, 'gpus' | 'gpuType'> | Problem {
  const known = [...new Set(clusters.flatMap(({ nodes }) => nodes.map(instanceName)))].toSorted();
  const match = known.find((each) => each === instance.toLowerCase());
  if (match === undefined) {
    return {
      message: `There is no instance ${instance}${didYouMean(instance, known)}`,
      why: known.length === 0 ? 'no cluster has a node' : `the clusters have ${known.join(', ')}`,
      fix: 'take one of these, or leave compute.instance out and say compute.gpus and compute.gpu_type',
    };
  }
  if (match === 'cpu') return { gpus: 0 };
  const [count = '0', ...type] = match.split('x');
  return { gpus: Number(count) * (compute.nodes ?? 1), gpuType: type.join('x') };
}

/** `8xa100_80gb`, or `cpu`: nodes of one name are alike. */
export function instanceName(node: ClusterNode): string {
  return node.gpuType === null || node.gpus === 0 ? 'cpu' : `${node.gpus}x${node.gpuType}`.toLowerCase();
}

function candidateClusters(
  compute: ComputeRequest,
  clusters: readonly ClusterInventory[],
): readonly ClusterInventory[] | Problem {
  const known = clusters.filter(({ nodes }) => nodes.length > 0);
  if (known.length === 0) {
    return {
      message: 'There is no cluster yet',
      why: 'no node has reported for duty',
      fix: 'start the local stack with mcli up, or a node agent on a GPU machine',
    };
  }
  if (compute.cluster === undefined) return known;
  const named = known.filter(({ cluster }) => cluster === compute.cluster);
  if (named.length > 0) return named;
  const names = known.map(({ cluster }) => cluster);
  return {
    message: `There is no cluster ${compute.cluster}${didYouMean(compute.cluster, names)}`,
    why: `there is ${describeClusters(known)}`,
    fix: `set compute.cluster or --cluster to ${names.join(' or ')}, or leave it out`,
  };
}

function findUnknownNode(
  names: readonly string[],
  candidates: readonly ClusterInventory[],
): Problem | undefined {
  const known = candidates.flatMap(({ nodes }) => nodes.map(({ node }) => node));
  const unknown = names.find((name) => !known.includes(name));
  if (unknown === undefined) return undefined;
  const meant = closest(unknown, known);
  return {
    message: `There is no node ${unknown}`,
    why: `there are ${known.slice(0, 20).join(', ')}${known.length > 20 ? ' and more' : ''}`,
    fix: meant === undefined ? 'correct compute.node_names, or leave it out' : `did you mean ${meant}?`,
  };
}

/** Every way in which a cluster could hold the run: at most one for each GPU type. */
function fitsOn({ cluster, nodes }: ClusterInventory, wish: Wish): ResourceRequest[] {
  const usable = nodes.filter(({ node }) => wish.nodeNames.length === 0 || wish.nodeNames.includes(node));
  const hasGpus = usable.some(({ gpus }) => gpus > 0);
  if (wish.kind === 'cpu' || (wish.kind === 'any' && !hasGpus)) {
    const count = wish.nodes ?? Math.max(1, wish.nodeNames.length);
    if (usable.filter(({ cpuSlots }) => cpuSlots > 0).length < count) return [];
    return [{ cluster, gpuType: null, gpus: 0, nodes: count, gpusPerNode: 0, nodeNames: wish.nodeNames }];
  }
  return gpuTypes(usable)
    .filter((type) => wish.gpuType === undefined || type.toLowerCase() === wish.gpuType.toLowerCase())
    .flatMap((gpuType) => {
      const sizes = usable.filter((node) => node.gpuType === gpuType).map(({ gpus }) => gpus);
      const shape = fitShape(sizes, wish);
      return shape === undefined
        ? []
        : [{ cluster, gpuType, gpus: shape.nodes * shape.gpusPerNode, ...shape, nodeNames: wish.nodeNames }];
    });
}

interface Shape {
  readonly nodes: number;
  readonly gpusPerNode: number;
}

/** How a GPU run spreads over nodes with these numbers of GPUs; undefined when it can't, or could in several ways. */
function fitShape(sizes: readonly number[], wish: Wish): Shape | undefined {
  const largestFirst = [...new Set(sizes)].toSorted((a, b) => b - a);
  const holds = ({ nodes, gpusPerNode }: Shape): boolean =>
    sizes.filter((size) => size >= gpusPerNode).length >= nodes;
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const wholeNodes = wish.nodes ?? (wish.nodeNames.length > 0 ? wish.nodeNames.length : undefined);
  if (wish.gpus === undefined) {
    // Without a number of GPUs, whole nodes are meant; without either, only a single GPU leaves no choice.
    if (wholeNodes === undefined) return total === 1 ? { nodes: 1, gpusPerNode: 1 } : undefined;
    return largestFirst.map((gpusPerNode) => ({ nodes: wholeNodes, gpusPerNode })).find(holds);
  }
  const { gpus } = wish;
  const counts = wish.nodes === undefined ? largestFirst.map((size) => Math.ceil(gpus / size)) : [wish.nodes];
  return counts
    .filter((nodes) => gpus % nodes === 0)
    .map((nodes) => ({ nodes, gpusPerNode: gpus / nodes }))
    .find(holds);
}

function explainNoFit(name: string, wish: Wish, candidates: readonly ClusterInventory[]): Problem {
  const there = describeClusters(candidates);
  const place = placeName(candidates);
  const known = candidates.flatMap(({ nodes }) => gpuTypes(nodes));
  const { gpuType } = wish;
  if (gpuType !== undefined && !known.some((type) => type.toLowerCase() === gpuType.toLowerCase())) {
    return {
      message: `There are no GPUs of the type ${gpuType}${didYouMean(gpuType, known)}`,
      why: `there is ${there}`,
      fix:
        known.length === 0
          ? 'set compute.gpus: 0 for a run without GPUs'
          : `set compute.gpu_type or --gpu-type to ${[...new Set(known)].join(' or ')}, or leave it out`,
    };
  }
  if (wish.kind !== 'cpu' && wish.gpus === undefined && wish.nodes === undefined) {
    return {
      message: `Run ${name} does not say how many GPUs it needs`,
      why: `several numbers make sense: there is ${there}`,
      fix: 'set compute.gpus or --gpus; 0 is a run without GPUs',
    };
  }
  return {
    message: `Run ${name} can never fit on ${place}`,
    why: `it asks for ${describeWish(wish)}; there is ${there}`,
    fix: fixNoFit(wish, candidates),
  };
}

function fixNoFit(wish: Wish, candidates: readonly ClusterInventory[]): string {
  if (wish.kind === 'cpu') return 'lower compute.nodes, or pick another cluster (mcli get clusters)';
  if (candidates.every(({ nodes }) => gpuTypes(nodes).length === 0)) {
    return 'set compute.gpus or --gpus to 0 for a run without GPUs';
  }
  const smaller = (wish.gpus ?? 0) - 1;
  const below = largestFit(wish, candidates, smaller);
  const lower = below === undefined ? 'lower compute.gpus' : `lower compute.gpus, for instance to ${below}`;
  if (wish.nodes !== undefined) return `${lower}, or change compute.nodes`;
  if (wish.nodeNames.length > 0) return `${lower}, or leave compute.node_names out`;
  return `${lower}, or pick another cluster (mcli get clusters)`;
}

/** Far more GPUs than any cluster has are not counted down one by one. */
const MAX_COUNTDOWN = 100_000;

function largestFit(wish: Wish, candidates: readonly ClusterInventory[], most: number): number | undefined {
  const total = candidates.flatMap(({ nodes }) => nodes).reduce((sum, { gpus }) => sum + gpus, 0);
  for (let gpus = Math.min(most, total, MAX_COUNTDOWN); gpus > 0; gpus -= 1) {
    if (candidates.some((cluster) => fitsOn(cluster, { ...wish, gpus }).length > 0)) return gpus;
  }
  return undefined;
}

function explainSeveral(
  name: string,
  wish: Wish,
  fits: readonly ResourceRequest[],
  candidates: readonly ClusterInventory[],
): Problem {
  const clusters = [...new Set(fits.map(({ cluster }) => cluster))];
  const what = clusters.length > 1 ? 'cluster' : 'GPU type';
  const choices = clusters.length > 1 ? clusters : [...new Set(fits.map(({ gpuType }) => gpuType ?? 'none'))];
  return {
    message: `Run ${name} does not say which ${what} it wants: ${choices.join(' and ')} would do`,
    why: `it asks for ${describeWish(wish)}; there is ${describeClusters(candidates)}`,
    fix:
      clusters.length > 1
        ? `set compute.cluster or --cluster to ${choices.join(' or ')}`
        : `set compute.gpu_type or --gpu-type to ${choices.join(' or ')}`,
  };
}

function warningsFor(
  compute: ComputeRequest,
  resources: ResourceRequest,
  candidates: readonly ClusterInventory[],
): string[] {
  const nodes = candidates.find(({ cluster }) => cluster === resources.cluster)?.nodes ?? [];
  const suitable = nodes.filter(
    ({ node, gpuType, gpus, cpuSlots }) =>
      (resources.nodeNames.length === 0 || resources.nodeNames.includes(node)) &&
      (resources.gpus === 0 ? cpuSlots > 0 : gpuType === resources.gpuType && gpus >= resources.gpusPerNode),
  );
  const inService = suitable.filter(({ alive, cordoned }) => alive && !cordoned).length;
  return [
    ...(compute.cpus === undefined
      ? []
      : ['compute.cpus has no effect: a run without GPUs takes a CPU slot']),
    ...(resources.gpus === 0 && compute.gpuType !== undefined && !/^none$/i.test(compute.gpuType)
      ? [`compute.gpu_type ${compute.gpuType} has no effect on a run without GPUs`]
      : []),
    ...(inService < resources.nodes
      ? [
          `The run will wait: ${inService} of the ${suitable.length} nodes of ${resources.cluster} that could take it are in service, and it needs ${resources.nodes}`,
        ]
      : []),
  ];
}

function describeWish({ kind, gpus, gpuType, nodes, nodeNames }: Wish): string {
  const what =
    kind === 'cpu'
      ? 'no GPUs'
      : gpus === undefined
        ? `the GPUs of whole nodes${gpuType === undefined ? '' : ` with ${gpuType}`}`
        : `${gpus} ${gpuType === undefined ? '' : `${gpuType} `}${gpus === 1 ? 'GPU' : 'GPUs'}`;
  const where = nodes === undefined ? '' : ` on ${countOf(nodes, 'node')}`;
  return `${what}${where}${nodeNames.length === 0 ? '' : ` (${nodeNames.join(', ')})`}`;
}

function describeClusters(clusters: readonly ClusterInventory[]): string {
  return clusters.map(({ cluster, nodes }) => `${cluster} with ${describeNodes(nodes)}`).join('; ');
}

/** `24 h100_80gb GPUs on 3 nodes (8 each)`, for every type. */
function describeNodes(nodes: readonly ClusterNode[]): string {
  const types = gpuTypes(nodes).map((type) => {
    const sizes = nodes.filter(({ gpuType }) => gpuType === type).map(({ gpus }) => gpus);
    const total = sizes.reduce((sum, size) => sum + size, 0);
    const each = [...new Set(sizes)].toSorted((a, b) => b - a).join(' or ');
    const share = sizes.length > 1 ? ` (${each} each)` : '';
    return `${total} ${type} ${total === 1 ? 'GPU' : 'GPUs'} on ${countOf(sizes.length, 'node')}${share}`;
  });
  return types.length === 0 ? `${countOf(nodes.length, 'node')} without GPUs` : types.join(' and ');
}

function gpuTypes(nodes: readonly ClusterNode[]): string[] {
  return [
    ...new Set(nodes.flatMap(({ gpuType, gpus }) => (gpuType === null || gpus === 0 ? [] : [gpuType]))),
  ].toSorted();
}

function placeName(clusters: readonly ClusterInventory[]): string {
  const names = clusters.map(({ cluster }) => cluster);
  return names.length === 1 ? `cluster ${names[0]}` : `any of the clusters ${names.join(', ')}`;
}

function countOf(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

function refuse(problem: Problem): ResolvedResources {
  return { ok: false, problems: [problem] };
}
