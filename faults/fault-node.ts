/** A node of the suite: a Docker daemon, a network that can be cut, and an agent that is started again when it dies. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { NAMESPACE } from '../core/naming.ts';
import type { StackPorts } from '../stack/config.ts';
import { distFile } from '../stack/package-root.ts';
import { inheritedEnv } from '../stack/part-environment.ts';
import { isAlive, signal } from '../stack/process-identity.ts';
import type { ProcessIdentity } from '../stack/process-identity.ts';
import { DockerDaemon } from './docker-daemon.ts';
import { LEASE_MS } from './fault-kinds.ts';
import { endProcessesOf } from './leftovers.ts';
import { withLogFile } from './log-file.ts';
import { CPU_SLOTS, GPUS_PER_NODE } from './plan.ts';
import { Proxy } from './proxy.ts';
import type { Cut } from './proxy.ts';

export const CLUSTER = 'faults';
/** As the unit file of a node says. */
const RESTART_MS = 1_000;
const GRACE_MS = 15_000;

export class FaultNode {
  readonly name: string;
  readonly docker: DockerDaemon;
  private readonly folder: string;
  private readonly temporal: Proxy;
  private readonly nats: Proxy;
  private agent: ChildProcess | undefined;
  private isFrozen = false;
  private closing = false;

  private constructor(
    name: string,
    folder: string,
    docker: DockerDaemon,
    links: { temporal: Proxy; nats: Proxy },
  ) {
    this.name = name;
    this.folder = folder;
    this.docker = docker;
    this.temporal = links.temporal;
    this.nats = links.nats;
  }

  static async make(
    name: string,
    home: string,
    {
      ports,
      network,
      diskMegabytes,
    }: { readonly ports: () => StackPorts; readonly network: string; readonly diskMegabytes: number },
  ): Promise<FaultNode> {
    const folder = path.join(home, name);
    mkdirSync(folder, { recursive: true });
    const [temporal, nats] = await Promise.all([
      Proxy.start(() => ports().temporal),
      Proxy.start(() => ports().nats),
    ]);
    return new FaultNode(name, folder, new DockerDaemon(folder, { network, diskMegabytes }), {
      temporal,
      nats,
    });
  }

  startAgent(): void {
    const agent = withLogFile(path.join(this.folder, 'agent.log'), (log) =>
      spawn(process.execPath, ['--enable-source-maps', distFile('node-agent.js')], {
        env: { ...inheritedEnv(process.env), ...this.environment() },
        stdio: ['ignore', log, log],
        detached: true,
      }),
    );
    this.agent = agent;
    agent.on('exit', () => {
      if (!this.closing) setTimeout(() => !this.closing && this.startAgent(), RESTART_MS);
    });
  }

  /** @returns whether there was an agent to hit */
  signalAgent(name: NodeJS.Signals): boolean {
    return this.agent?.kill(name) ?? false;
  }

  /**
   * A node whose agent can't start a guard has one, and keeps it: without both, nothing is promised (ADR 16).
   * @returns whether there was an agent to hit
   */
  freezeAgent(): boolean {
    this.isFrozen = this.isGuarded() && this.signalAgent('SIGSTOP');
    return this.isFrozen;
  }

  thawAgent(): void {
    this.isFrozen = false;
    this.signalAgent('SIGCONT');
  }

  /** @returns the pid that was hit */
  killGuard(): number | undefined {
    const guard = this.isFrozen ? undefined : this.guard();
    return guard && signal(guard, 'SIGKILL') ? guard.pid : undefined;
  }

  /** By a living guard, and another than `before`. */
  isGuarded(before?: number): boolean {
    const guard = this.guard();
    return guard !== undefined && guard.pid !== before && isAlive(guard);
  }

  cut(how: Cut, what: 'all' | 'nats'): void {
    this.nats.cut(how);
    if (what === 'all') this.temporal.cut(how);
  }

  mend(): void {
    this.nats.mend();
    this.temporal.mend();
  }

  async close(): Promise<void> {
    this.closing = true;
    const { agent } = this;
    if (agent && agent.exitCode === null && agent.signalCode === null) {
      const gone = once(agent, 'exit');
      agent.kill('SIGCONT');
      agent.kill('SIGTERM');
      const late = setTimeout(() => agent.kill('SIGKILL'), GRACE_MS);
      await gone;
      clearTimeout(late);
    }
    // Its guards, also those that have not yet written down who they are, or could not on a full disk.
    endProcessesOf(this.stateDirectory);
    await this.docker.close();
    await Promise.all([this.temporal.close(), this.nats.close()]);
  }

  /** On the node's disk: it may be full. */
  private get stateDirectory(): string {
    return path.join(this.docker.disk, 'mcli');
  }

  /** The guard writes down who it is; none has been started yet where there is nothing to read. */
  private guard(): ProcessIdentity | undefined {
    try {
      return JSON.parse(
        readFileSync(path.join(this.stateDirectory, 'guard.json'), 'utf8'),
      ) as ProcessIdentity;
    } catch {
      return undefined;
    }
  }

  private environment(): Record<string, string> {
    return {
      TEMPORAL_ADDRESS: `127.0.0.1:${this.temporal.port}`,
      TEMPORAL_NAMESPACE: NAMESPACE,
      MCLI_NATS_URL: `nats://127.0.0.1:${this.nats.port}`,
      MCLI_CLUSTER: CLUSTER,
      MCLI_NODE: this.name,
      MCLI_NODE_ADDRESS: '127.0.0.1',
      MCLI_NODE_GPUS: String(GPUS_PER_NODE),
      MCLI_NODE_GPU_TYPE: 'a100_80gb',
      MCLI_NODE_CPU_SLOTS: String(CPU_SLOTS),
      MCLI_NODE_ALLOW_LOCAL_IMAGES: '1',
      // Its Docker has no other network.
      MCLI_NODE_CONTAINER_NETWORK: 'host',
      MCLI_NODE_LEASE_SECONDS: String(LEASE_MS / 1_000),
      MCLI_NODE_STATE_DIR: this.stateDirectory,
      DOCKER_HOST: this.docker.host,
    };
  }
}
