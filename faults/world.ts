/** All that is there to be hit: the control plane, the nodes, and who watches them. */
import path from 'node:path';
import type { Closing } from './closing.ts';
import { copyImage } from './docker-daemon.ts';
import { DockerWatch } from './docker-watch.ts';
import { CLUSTER, FaultNode } from './fault-node.ts';
import { FaultStack } from './fault-stack.ts';
import { HeartbeatWatch } from './heartbeat-watch.ts';
import { untilInService } from './operator.ts';
import { NODE_COUNT } from './plan.ts';
import { SharedNetwork } from './shared-network.ts';

export const NODES = Array.from({ length: NODE_COUNT }, (_, index) => `n${index}`);
/** Docker takes twice the size of the image while it reads it. */
const DISK_MEGABYTES = 640;

export interface Watched {
  readonly node: FaultNode;
  readonly watch: DockerWatch;
}

export interface World {
  readonly stack: FaultStack;
  readonly nodes: readonly Watched[];
  readonly heartbeats: HeartbeatWatch;
}

export async function build(home: string, closing: Closing): Promise<World> {
  let stack: FaultStack | undefined;
  const ports = () => (stack as FaultStack).config.ports;
  const network = await SharedNetwork.make();
  closing.add(() => network.close());
  const facts = { ports, network: network.file, diskMegabytes: DISK_MEGABYTES };
  const nodes = await Promise.all(NODES.map((name) => FaultNode.make(name, home, facts)));
  const starting = FaultStack.start(path.join(home, 'stack'));
  closing.add(async () => (await starting).close());
  closing.add(() => Promise.all(nodes.map((node) => node.close())));
  await Promise.all(nodes.map(({ docker }) => docker.start()));
  const daemons = nodes.map(({ docker }) => docker);
  const [running] = await Promise.all([starting, copyImage('bash:latest', daemons)]);
  stack = running;
  for (const node of nodes) node.startAgent();
  const watched = nodes.map((node) => ({ node, watch: new DockerWatch(node.name, node.docker.client) }));
  const heartbeats = new HeartbeatWatch(() => running.client(), CLUSTER, NODES);
  closing.add(async () => {
    for (const { watch } of watched) watch.close();
    heartbeats.close();
  });
  await untilInService(running, nodes.length);
  return { stack: running, nodes: watched, heartbeats };
}
