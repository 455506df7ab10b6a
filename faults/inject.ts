/** Carries out one fault, takes it away again, and waits until what it hit is well. */
import { setTimeout as sleep } from 'node:timers/promises';
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import type { Fault } from './evidence.ts';
import type { FaultKind } from './fault-kinds.ts';
import { CLUSTER } from './fault-node.ts';
import type { FaultNode } from './fault-node.ts';
import type { PartName } from './fault-stack.ts';
import { lastHeartbeat } from './histories.ts';
import type { PlannedFault } from './plan.ts';
import type { Watched, World } from './world.ts';

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
  /** Of those that found nothing to hit. */
  readonly skipped: FaultKind[] = [];
  private readonly world: World;
  private readonly say: (line: string) => void;
  private readonly targetWithinMs: number;
  /** Nodes that are cut off or stalled: one such fault at a time for each. */
  private readonly disturbed = new Set<string>();

  /** @param targetWithinMs how long something to hit is waited for */
  constructor(world: World, say: (line: string) => void, targetWithinMs = TARGET_WITHIN_MS) {
    this.world = world;
    this.say = say;
    this.targetWithinMs = targetWithinMs;
  }

  /**
   * Resolves when all is well again, or was not within two minutes. Waits a while for something to hit, but not when it
   * is `calm`: then all has ended.
   */
  async inject(planned: PlannedFault, calm: AbortSignal): Promise<void> {
    const giveUpAt = Date.now() + this.targetWithinMs;
    let at = Date.now();
    let begun = await this.begin(planned);
    while (begun === undefined && at < giveUpAt && !calm.aborted) {
      await sleep(LOOK_MS);
      at = Date.now();
      begun = await this.begin(planned);
    }
    if (begun === undefined && calm.aborted) return;
    if (begun === undefined) {
      this.say(`${planned.kind} found nothing to hit`);
      this.skipped.push(planned.kind);
      return;
    }
    const { target, container, isUncertain = false, mend, isWell, isDockerWell } = begun;
    const fault: OpenFault = {
      kind: planned.kind,
      target,
      at,
      mendedAt: mend === undefined ? at : Infinity,
      ...(container === undefined ? {} : { container, isUncertain }),
    };
    this.faults.push(fault);
    this.say(`${planned.kind} ${target}${mend ? ` for ${(planned.lastsMs / 1000).toFixed(0)} s` : ''}`);
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

  private async begin({ kind, dice }: PlannedFault): Promise<Begun | undefined> {
    const { nodes } = this.world;
    const pick = <T>(items: readonly T[]): T | undefined => items[Math.floor(dice * items.length)];
    const calm = nodes.filter(({ node }) => !this.disturbed.has(node.name));
    // The part of the dice that the choice of the node leaves over.
    const coin = (dice * 1_000) % 1 < 0.5;
    switch (kind) {
      case 'kill-agent':
        return this.onNode(pick(calm), (node) => node.signalAgent('SIGKILL'));
      case 'restart-agent':
        return this.onNode(pick(calm), (node) => node.signalAgent('SIGTERM'));
      case 'stall-agent':
      case 'stall-agent-long':
        return this.disturb(pick(calm), {
          begin: (node) => node.freezeAgent(),
          end: (node) => node.thawAgent(),
        });
      case 'cut-node':
      case 'cut-node-long':
      case 'cut-nats':
        return this.disturb(pick(calm), {
          begin: (node) => node.cut(coin ? 'silence' : 'refuse', kind === 'cut-nats' ? 'nats' : 'all'),
          end: (node) => node.mend(),
        });
      case 'fill-disk':
        return this.disturb(pick(calm), {
          begin: (node) => node.docker.fill(),
          end: (node) => node.docker.unfill(),
          isDockerWell: (node) => node.docker.isWell(),
        });
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
      case 'kill-everything':
        return this.onEverything(calm);
    }
  }

  private onNode(watched: Watched | undefined, hit: (node: FaultNode) => boolean | void): Begun | undefined {
    if (watched === undefined) return undefined;
    const { node } = watched;
    if (hit(node) === false) return undefined;
    return { target: node.name, isWell: (since) => this.hasBeat(node, since) };
  }

  private disturb(
    watched: Watched | undefined,
    { begin, end, isDockerWell }: Disturbance,
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

  /** Agents that are stalled or cut off at the moment stay so. */
  private onEverything(calm: readonly Watched[]): Begun {
    const { stack, nodes } = this.world;
    const supervisor = stack.killSupervisor();
    const parts = this.onParts(PARTS, 'SIGKILL');
    const agents = calm.map((watched) => this.onNode(watched, (node) => node.signalAgent('SIGKILL')));
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

  private onDocker(node: FaultNode | undefined): Begun | undefined {
    const pid = node?.docker.kill();
    if (node === undefined || pid === undefined) return undefined;
    const { docker } = node;
    const isWell = async (): Promise<boolean> => docker.pid !== pid && (await docker.isWell());
    return { target: node.name, isWell, isDockerWell: isWell };
  }

  /** Hit is what Docker says it has killed: a daemon that is dead, or a container that has just ended, is not. */
  private async onContainer(dice: number): Promise<Begun | undefined> {
    const lives = this.world.nodes.flatMap(({ node, watch }) =>
      watch.alive().map((life) => ({ node, ...life })),
    );
    const victim = lives[Math.floor(dice * lives.length)];
    if (victim === undefined) return undefined;
    const { node, id, run, resumption } = victim;
    const answer = await node.docker.killContainer(id);
    if (answer === 'not killed') return undefined;
    return {
      target: run,
      container: id,
      isWell: async () => answer === 'unknown' || (await this.isPast(run, resumption)),
      isUncertain: answer === 'unknown',
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

/** Something that lasts for a while. */
interface Disturbance {
  /** Answers false where there was nothing to disturb. */
  readonly begin: (node: FaultNode) => boolean | void;
  readonly end: (node: FaultNode) => void | Promise<void>;
  readonly isDockerWell?: (node: FaultNode) => Promise<boolean>;
}

interface Begun {
  readonly target: string;
  readonly container?: string;
  /** Nobody has said whether it was hit. */
  readonly isUncertain?: boolean;
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
