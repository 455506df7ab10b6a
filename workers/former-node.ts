/**
 * What this machine was before: a node of another name, cluster or control plane, or one with another Docker. Its runs
 * are covered by its lease, which this agent is about to write anew: then nobody would end them in time.
 */
import { createDocker } from '../activities/docker.ts';
import type { Docker } from '../activities/docker.ts';
import { containerNameOf, labelsOfNode } from '../core/naming.ts';
import type { NodePlace } from '../core/naming.ts';
import { readLease } from './node-lease.ts';

interface Present {
  readonly stateDirectory: string;
  readonly docker: Pick<Docker, 'list'>;
  readonly place: NodePlace;
}

/** @throws Error while runs of a former node live here */
export async function refuseRunsOfAnother({ stateDirectory, docker, place }: Present): Promise<void> {
  const lease = readLease(stateDirectory);
  if (lease === undefined) return;
  const own = new Set((await docker.list(labelsOfNode(place))).map(({ id }) => id));
  const former = createDocker(lease.dockerHost);
  const names: string[] = [];
  for (const { id, labels } of await former.list(labelsOfNode(lease.place))) {
    if (!own.has(id) && (await former.inspect(id))?.status === 'running') names.push(containerNameOf(labels));
  }
  if (names.length === 0) return;
  const { node, cluster, controlPlane } = lease.place;
  throw new Error(
    `this machine still runs ${names.join(', ')} as node ${node} of cluster ${cluster} at ${controlPlane}` +
      `${lease.dockerHost === undefined ? '' : `, in Docker at ${lease.dockerHost}`}. ` +
      'They are ended when the lease of that node is over. To keep them, start the agent with its former settings.',
  );
}
