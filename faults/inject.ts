/** Carries out one fault, takes it away again, and waits until what it hit is well. */
import { setTimeout as sleep } from 'node:timers/promises';
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import type { DockerWatch } from './docker-watch.ts';
import type { Fault } from './evidence.ts';
import { CLUSTER } from './fault-node.ts';
import type { FaultNode } from './fault-node.ts';
import type { FaultStack, PartName } from './fault-stack.ts';
import type { HeartbeatWatch } from './heartbeat-watch.ts';
import { lastHeartbeat } from './histories.ts';
import type { PlannedFault } from './plan.ts';

export interface Watched {
  readonly node: FaultNode;
  readonly watch: DockerWatch;
}

export interface World {
  readonly stack: FaultStack;
  readonly nodes: readonly Watched[];
  readonly heartbeats: HeartbeatWatch;
}

const LOOK_MS = 100;
/** A container to kill; a node that is not cut off already. */
const TARGET_WITHIN_MS = 10_000;
const WELL_WITHIN_MS = 120_000;
/** A heartbeat that was on its way when the agent died says nothing of the next agent. */
const ON_THE_WAY_MS = 300;
const RESUMPTION = defineSearchAttributeKey('Resumption', SearchAttributeType.INT);
const PARTS: readonly PartName[] = ['temporal', 'nats', 'control-worker', 'cluster-worker'];

export class Injector {
  readonly faults: Fault[] = [];
  private readonly world: World;
  /** Nodes that are cut off or stalled: one such fault at a time for each. */
  private readonly disturbed = new Set<string>();

  constructor(world: World) {
    this.world = world;
  }

  /** Resolves when all is well again, or was not within two minutes. Waits a while for something to hit. */
  async inject(planned: PlannedFault): Promise<void> {
    const giveUpAt = Date.now() + TARGET_WITHIN_MS;
    let at = Date.now();
    let begun = this.begin(planned);
    while (begun === undefined && at < giveUpAt) {
      await sleep(LOOK_MS);
      at = Date.now();
      begun = this.begin(planned);
    }
    if (begun === undefined) return;
    const { target, container, mend, isWell, isDockerWell } = begun;
    const fault: OpenFault = {
      kind: planned.kind,
      target,
      at,
      mendedAt: mend === undefined ? at : Infinity,
      ...(container === undefined ? {} : { container }),
    };
    this.faults.push(fault);
    if (mend !== undefined) {
      await sleep(planned.lastsMs);
      await mend();
      fault.mendedAt = Date.now();
    }
    await Promise.all([
      untilWell(() => isWell(fault.mendedAt)).then((wellAt) => Object.assign(fault, wellAt && { wellAt })),
      isDockerWell &&
        untilWell(isDockerWell).then((wellAt) => Object.assign(fault, wellAt && { dockerWellAt: wellAt })),
    ]);
  }

  private begin({ kind, dice }: PlannedFault): Begun | undefined {
    const { stack, nodes } = this.world;
    const pick = <T>(items: readonly T[]): T | undefined => items[Math.floor(dice * items.length)];
    // The part of the dice that the choice of the node leaves over.
    const coin = (dice * 1_000) % 1 < 0.5;
    switch (kind) {
      case 'kill-agent':
      case 'restart-agent':
        return this.onNode(pick(nodes), (node) => {
          node.signalAgent(kind === 'kill-agent' ? 'SIGKILL' : 'SIGTERM');
        });
      case 'stall-agent':
      case 'stall-agent-long':
        return this.disturb(
          pick(nodes),
          (node) => node.signalAgent('SIGSTOP'),
          (node) => node.signalAgent('SIGCONT'),
        );
      case 'cut-node':
      case 'cut-node-long':
      case 'cut-nats':
        return this.disturb(
          pick(nodes),
          (node) => node.cut(coin ? 'silence' : 'refuse', kind === 'cut-nats' ? 'nats' : 'all'),
          (node) => node.mend(),
        );
      case 'fill-disk':
        return this.disturb(
          pick(nodes),
          (node) => node.docker.fill(),
          (node) => node.docker.unfill(),
          (node) => node.docker.isWell(),
        );
      case 'kill-guard': {
        const node = pick(nodes)?.node;
        const pid = node?.killGuard();
        if (node === undefined || pid === undefined) return undefined;
        // Its agent starts the next one, which says so nowhere but on this machine.
        return { target: node.name, isWell: () => Promise.resolve(node.isGuarded(pid)) };
      }
      case 'kill-dockerd':
        return this.onDocker(pick(nodes)?.node);
      case 'kill-container':
        return this.onContainer(dice);
      case 'kill-supervisor':
        return this.onSupervisor();
      case 'kill-temporal':
        return this.onParts(['temporal'], 'SIGKILL');
      case 'kill-nats':
        return this.onParts(['nats'], 'SIGKILL');
      case 'kill-control-worker':
        return this.onParts(['control-worker'], 'SIGKILL');
      case 'kill-cluster-worker':
        return this.onParts(['cluster-worker'], 'SIGKILL');
      case 'restart-workers':
        return this.onParts(['control-worker', 'cluster-worker'], 'SIGTERM');
      case 'kill-everything': {
        const supervisor = stack.killSupervisor();
        const parts = this.onParts(PARTS, 'SIGKILL');
        const agents = nodes.map((watched) => this.onNode(watched, (node) => node.signalAgent('SIGKILL')));
        for (const { node } of nodes) node.killGuard();
        const daemons = nodes.map(({ node }) => this.onDocker(node));
        const hits = [parts, ...agents, ...daemons].filter((hit) => hit !== undefined);
        return {
          target: 'everything',
          isWell: async (since) =>
            stack.isSupervised(supervisor) && (await all(hits.map(({ isWell }) => isWell(since)))),
          isDockerWell: () => all(daemons.map(async (daemon) => (await daemon?.isDockerWell?.()) ?? true)),
        };
      }
    }
  }

  private onNode(watched: Watched | undefined, hit: (node: FaultNode) => void): Begun | undefined {
    if (watched === undefined || this.disturbed.has(watched.node.name)) return undefined;
    const { node } = watched;
    hit(node);
    return { target: node.name, isWell: (since) => this.hasBeat(node, since) };
  }

  private disturb(
    watched: Watched | undefined,
    begin: (node: FaultNode) => void,
    end: (node: FaultNode) => void | Promise<void>,
    isDockerWell?: (node: FaultNode) => Promise<boolean>,
  ): Begun | undefined {
    const begun = this.onNode(watched, begin);
    if (begun === undefined || watched === undefined) return undefined;
    const { node } = watched;
    this.disturbed.add(node.name);
    return {
      ...begun,
      mend: async () => {
        await end(node);
        this.disturbed.delete(node.name);
      },
      ...(isDockerWell === undefined ? {} : { isDockerWell: () => isDockerWell(node) }),
    };
  }

  private onDocker(node: FaultNode | undefined): Begun | undefined {
    const pid = node?.docker.pid;
    if (node === undefined || pid === undefined) return undefined;
    process.kill(pid, 'SIGKILL');
    const { docker } = node;
    const isWell = async (): Promise<boolean> => docker.pid !== pid && (await docker.isWell());
    return { target: node.name, isWell, isDockerWell: isWell };
  }

  private onContainer(dice: number): Begun | undefined {
    const lives = this.world.nodes.flatMap(({ node, watch }) =>
      watch.alive().map((life) => ({ node, ...life })),
    );
    const victim = lives[Math.floor(dice * lives.length)];
    if (victim === undefined) return undefined;
    const { node, id, run, resumption } = victim;
    // A daemon that is dead kills nothing: then the container lives on, which the checker sees.
    void node.docker.client
      .getContainer(id)
      .kill({ signal: 'SIGKILL' })
      .catch(() => undefined);
    return {
      target: run,
      container: id,
      isWell: async () => this.isPast(run, resumption),
    };
  }

  private onSupervisor(): Begun | undefined {
    const pid = this.world.stack.killSupervisor();
    if (pid === undefined) return undefined;
    return { target: 'supervisor', isWell: () => Promise.resolve(this.world.stack.isSupervised(pid)) };
  }

  private onParts(names: readonly PartName[], what: NodeJS.Signals): Begun | undefined {
    const { stack } = this.world;
    const hit = names.map((name) => ({ name, pid: stack.signalPart(name, what) }));
    if (hit.every(({ pid }) => pid === undefined)) return undefined;
    return {
      target: names.join(' '),
      isWell: () => all(hit.map(({ name, pid }) => stack.isWell(name, pid))),
    };
  }

  private async hasBeat(node: FaultNode, since: number): Promise<boolean> {
    const client = await this.world.stack.client();
    return (await lastHeartbeat(client, CLUSTER, node.name)) > since + ON_THE_WAY_MS;
  }

  /** Whether a run has ended, or is at a later resumption: when that begins depends on what there is to run on. */
  private async isPast(run: string, resumption: number): Promise<boolean> {
    const client = await this.world.stack.client();
    const { status, typedSearchAttributes } = await client.workflow.getHandle(run).describe();
    return status.name !== 'RUNNING' || (typedSearchAttributes.get(RESUMPTION) ?? 0) > resumption;
  }
}

/** A fault that goes on. */
type OpenFault = { -readonly [Key in keyof Fault]: Fault[Key] };

interface Begun {
  readonly target: string;
  readonly container?: string;
  /** Absent: there is nothing to take away. */
  readonly mend?: () => Promise<void>;
  /** @param since when the disturbance ended, in epoch milliseconds */
  readonly isWell: (since: number) => Promise<boolean>;
  /** Of the Dockers that were hit, where any was. */
  readonly isDockerWell?: () => Promise<boolean>;
}

async function untilWell(isWell: () => Promise<boolean>): Promise<number | undefined> {
  const deadline = Date.now() + WELL_WITHIN_MS;
  while (Date.now() < deadline) {
    if (await isWell().catch(() => false)) return Date.now();
    await sleep(LOOK_MS);
  }
  return undefined;
}

async function all(answers: readonly Promise<boolean>[]): Promise<boolean> {
  return (await Promise.all(answers)).every(Boolean);
}
