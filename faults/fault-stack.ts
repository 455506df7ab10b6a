/** The control plane of the suite: the product's own local stack without nodes, in a home of its own. */
import { mkdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { CLUSTER_QUEUE, CONTROL_QUEUE, NAMESPACE } from '../core/naming.ts';
import { natsUrl, temporalAddress } from '../stack/addresses.ts';
import type { StackConfig } from '../stack/config.ts';
import { readConfig, readState, writeConfig } from '../stack/config.ts';
import type { StackHome } from '../stack/home.ts';
import { stackHome } from '../stack/home.ts';
import { takeDown } from '../stack/local-stack.ts';
import { spawnSupervisor } from '../stack/parent-watch.ts';
import { choosePorts } from '../stack/ports.ts';
import { isAlive, signal } from '../stack/process-identity.ts';
import { askNats, askTemporal } from '../stack/servers.ts';
import { ensureTools } from '../stack/tools.ts';
import { CLUSTER } from './fault-node.ts';

const READY_MS = 60_000;
const LOOK_MS = 1_000;
/** Workers bring a dead supervisor back; when they are dead, too, the next command of a person does. */
const PERSON_COMES_MS = 5_000;

const QUEUES = { 'control-worker': CONTROL_QUEUE, 'cluster-worker': CLUSTER_QUEUE } as const;
export type PartName = 'temporal' | 'nats' | 'control-worker' | 'cluster-worker';

export class FaultStack {
  private readonly home: StackHome;
  private readonly closing = new AbortController();
  private opened: Client | undefined;

  private constructor(root: string) {
    this.home = stackHome({ MCLI_HOME: root });
  }

  static async start(root: string): Promise<FaultStack> {
    mkdirSync(root, { recursive: true });
    const stack = new FaultStack(root);
    try {
      await stack.bringUp();
    } catch (error) {
      // Its processes would outlive this one.
      await stack.close();
      throw error;
    }
    void stack.keepSupervised();
    return stack;
  }

  get config(): StackConfig {
    return readConfig(this.home) as StackConfig;
  }

  /** What a shell has that works with this stack as with a cluster somewhere: no command starts or repairs it. */
  get environment(): Record<string, string> {
    const { ports } = this.config;
    return {
      MCLI_HOME: this.home.root,
      TEMPORAL_ADDRESS: temporalAddress(ports),
      TEMPORAL_NAMESPACE: NAMESPACE,
      MCLI_NATS_URL: natsUrl(ports),
    };
  }

  /** Comes back by itself when the server does. */
  async client(): Promise<Client> {
    this.opened ??= new Client({
      connection: await Connection.connect({ address: temporalAddress(this.config.ports) }),
      namespace: NAMESPACE,
    });
    return this.opened;
  }

  /** @returns the pid that was hit */
  signalPart(name: PartName, what: NodeJS.Signals): number | undefined {
    const known = readState(this.home)?.parts[name]?.process;
    return known && signal(known, what) ? known.pid : undefined;
  }

  killSupervisor(): number | undefined {
    const known = readState(this.home)?.supervisor;
    return known && signal(known, 'SIGKILL') ? known.pid : undefined;
  }

  /** A living supervisor, and another than `before`. */
  isSupervised(before?: number): boolean {
    const known = readState(this.home)?.supervisor;
    return known !== undefined && known.pid !== before && isAlive(known);
  }

  /** Whether a part is at work, as another process than `before`. */
  async isWell(name: PartName, before?: number): Promise<boolean> {
    try {
      const process = readState(this.home)?.parts[name]?.process;
      if (process === undefined || process.pid === before || !isAlive(process)) return false;
      const { ports } = this.config;
      if (name === 'temporal') await askTemporal(ports);
      else if (name === 'nats') await askNats(ports);
      else return await this.isPolling(name, process.pid);
      return true;
    } catch {
      return false;
    }
  }

  async close(): Promise<void> {
    this.closing.abort();
    await this.opened?.connection.close();
    await takeDown({ env: { MCLI_HOME: this.home.root } });
  }

  private async bringUp(): Promise<void> {
    const tools = await ensureTools(this.home, console.error);
    // Not `mcli up`, which has at least one node on the machine's own Docker.
    const settings = { cluster: CLUSTER, nodes: 0, containerEnv: {} };
    writeConfig(this.home, { wanted: 'up', settings, ports: await choosePorts(), tools });
    spawnSupervisor(this.home);
    const deadline = Date.now() + READY_MS;
    while (!readState(this.home)?.ready) {
      if (Date.now() > deadline) {
        throw new Error(`the stack was not up within ${READY_MS / 1000} s; see ${this.home.logs}`);
      }
      await sleep(100);
    }
  }

  /** A worker's identity begins with its pid. */
  private async isPolling(name: keyof typeof QUEUES, pid: number): Promise<boolean> {
    const client = await this.client();
    const { pollers } = await client.workflowService.describeTaskQueue({
      namespace: NAMESPACE,
      taskQueue: { name: QUEUES[name] },
    });
    return (pollers ?? []).some(({ identity }) => identity?.startsWith(`${pid}@`));
  }

  private async keepSupervised(): Promise<void> {
    let deadMs = 0;
    while (!this.closing.signal.aborted) {
      deadMs = this.isSupervised() ? 0 : deadMs + LOOK_MS;
      if (deadMs >= PERSON_COMES_MS) {
        spawnSupervisor(this.home);
        deadMs = 0;
      }
      await sleep(LOOK_MS, undefined, { signal: this.closing.signal }).catch(() => undefined);
    }
  }
}
