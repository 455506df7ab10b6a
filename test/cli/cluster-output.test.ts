import { expect, it } from 'vitest';
import type { NodeBeat } from '../../client/index.ts';
import { clusterWithHealthAsJson, renderCluster } from '../../cli/output/clusters.ts';
import type { ClusterNode } from '../../core/cluster.ts';
import type { NodeHealth } from '../../core/node-health.ts';
import type { ClusterView } from '../../workflows/messages.ts';

const NOW = Date.UTC(2026, 0, 31, 12, 0, 30);
const HEALTH: NodeHealth = {
  sampledAt: NOW - 5_000,
  disk: { usedPercent: 91.2, freeBytes: 88e9, totalBytes: 1e12, highPercent: 85 },
  gpus: { offered: 8, seen: 7, problems: ['GPU 3: nvidia-smi says [Unknown Error].'] },
  load: 12.34,
  cpus: 96,
  memoryBytes: 1e12,
  memoryFreeBytes: 5e11,
};

const node = (name: string, more: Partial<ClusterNode> = {}): ClusterNode => ({
  node: name,
  gpuType: 'a100_80gb',
  gpus: 8,
  cpuSlots: 4,
  address: name,
  leaseMs: 300_000,
  alive: true,
  cordoned: false,
  ...more,
});

const view: ClusterView = {
  snapshot: {
    cluster: 'c1',
    nodes: [node('b', { alive: false }), node('a', { cordoned: true, cordonReason: '3 failures in a row' })],
    queue: [],
    leases: [],
  },
  waiting: [],
  history: { entries: [] } as unknown as ClusterView['history'],
  queued: 0,
};
const beats = new Map<string, NodeBeat>([['a', { at: new Date(NOW - 1_500), health: HEALTH }]]);

it('shows how each node is, and why it is cordoned', () => {
  expect(renderCluster(view, beats, NOW)).toBe(`Cluster Details
Name         c1
Total Nodes  2
Total GPUs   16
GPUs Used    0
Active Runs  0
Queued Runs  0

Node Details
NAME  GPU_TYPE   GPUS  USED  CPU_SLOTS  STATUS  SCHEDULABLE
a     a100_80gb  8     0     0/4        Alive   no (cordoned: 3 failures in a row)
b     a100_80gb  8     0     0/4        Dead    no

Node Health
NAME  HEARTBEAT  LOAD             MEMORY                   DISK                    PROBLEMS
a     1s ago     12.3 on 96 CPUs  500.0 GB of 1.0 TB free  91% used, 88.0 GB free  Docker's disk is 91 % full. nvidia-smi sees 7 of 8 GPUs. GPU 3: nvidia-smi says [Unknown Error].
b     -          -                -                        -                       -`);
});

it('leaves the health out where nobody tells it', () => {
  expect(renderCluster(view, new Map(), NOW)).not.toContain('Node Health');
});

it('gives scripts the same facts', () => {
  const { nodes } = clusterWithHealthAsJson(view, beats) as { nodes: readonly Record<string, unknown>[] };
  expect(nodes[0]).toMatchObject({
    name: 'a',
    cordonReason: '3 failures in a row',
    lastHeartbeatAt: '2026-01-31T12:00:28.500Z',
    health: {
      sampledAt: '2026-01-31T12:00:25.000Z',
      load: 12.34,
      cpus: 96,
      memoryBytes: 1e12,
      memoryFreeBytes: 5e11,
      disk: { usedPercent: 91.2, freeBytes: 88e9, totalBytes: 1e12, highPercent: 85 },
      dockerError: null,
      gpusSeen: 7,
      problems: [
        "Docker's disk is 91 % full.",
        'nvidia-smi sees 7 of 8 GPUs.',
        'GPU 3: nvidia-smi says [Unknown Error].',
      ],
    },
  });
  expect(nodes[1]).toMatchObject({ name: 'b', cordonReason: null, lastHeartbeatAt: null, health: null });
});
