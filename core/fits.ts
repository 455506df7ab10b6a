/** Whether a cluster could run a request at all, were it empty; asked before a request is accepted. */
import { count, names } from './phrases.ts';
import type { CapacityRequest, ClusterNode } from './cluster.ts';

export type Fit = { readonly fits: true } | { readonly fits: false; readonly why: string };

type Resources = Pick<CapacityRequest, 'gpuType' | 'gpus' | 'nodes' | 'gpusPerNode' | 'nodeNames'>;

/** `why` is a clause with the real values in it: "it asks for …; the cluster has …". Dead and cordoned nodes count. */
export function fits(request: Resources, nodes: readonly ClusterNode[]): Fit {
  const unknown = request.nodeNames.filter((name) => !nodes.some(({ node }) => node === name));
  if (unknown.length > 0) {
    return no(
      `it asks for ${unknown.join(', ')}; the cluster has ${names(nodes.map(({ node }) => node)) || 'no nodes'}`,
    );
  }
  const allowed = nodes.filter(
    ({ node }) => request.nodeNames.length === 0 || request.nodeNames.includes(node),
  );
  if (request.gpus === 0) {
    const suitable = allowed.filter(({ cpuSlots }) => cpuSlots > 0).length;
    if (suitable >= request.nodes) return { fits: true };
    return no(`it asks for a CPU slot on ${count(request.nodes, 'node')}; ${suitable} offer any`);
  }
  const ofType = allowed.filter(({ gpuType, gpus }) => gpus > 0 && gpuType === request.gpuType);
  const suitable = ofType.filter(({ gpus }) => gpus >= request.gpusPerNode).length;
  if (suitable >= request.nodes) return { fits: true };
  const asked = `it asks for ${count(request.gpus, `${request.gpuType ?? 'unnamed'} GPU`)} on ${count(request.nodes, 'node')}`;
  if (ofType.length === 0) {
    const types = [...new Set(allowed.flatMap(({ gpuType }) => gpuType ?? []))].sort();
    return no(`${asked}; the cluster has ${types.length === 0 ? 'no GPUs' : `only ${names(types)}`}`);
  }
  const sizes = ofType.map(({ gpus }) => gpus);
  const total = sizes.reduce((sum, gpus) => sum + gpus, 0);
  return no(
    `${asked}; the cluster has ${total} on ${count(sizes.length, 'node')}, ${Math.max(...sizes)} at most on one`,
  );
}

function no(why: string): Fit {
  return { fits: false, why };
}
