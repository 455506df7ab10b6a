/** Activities of the control worker: construction, and the run's side of the talk with its cluster. */
import type { Client } from '@temporalio/client';
import { resolveResources } from '../core/resources.ts';
import { releaseCapacitySignal, requestCapacitySignal } from '../workflows/messages.ts';
import type { ClusterDirectory } from '../client/cluster-directory.ts';
import type { ControlActivities } from './contract.ts';
import { signalCluster } from './signal-cluster.ts';

export interface ControlDependencies {
  readonly temporal: Client;
  readonly clusters: ClusterDirectory;
}

export function createControlActivities({ temporal, clusters }: ControlDependencies): ControlActivities {
  return {
    async construct({ spec }) {
      const known = resolveResources(spec, await clusters.list());
      // A node may have joined since the directory was read: never refuse on old knowledge.
      const answer = known.ok ? known : resolveResources(spec, await clusters.refresh());
      return answer.ok
        ? { accepted: true, resources: answer.resources, warnings: answer.warnings }
        : { accepted: false, problems: answer.problems };
    },

    async 'wait-for-capacity'({ cluster, request, held }) {
      await signalCluster(temporal, cluster, requestCapacitySignal, request, held);
    },

    async complete({ cluster, ...release }) {
      await signalCluster(temporal, cluster, releaseCapacitySignal, release);
    },
  };
}
