/** All that a command receives: streams, environment, and the servers on first use. */
import { userInfo } from 'node:os';
import { createInterface } from 'node:readline/promises';
import type { Readable, Writable } from 'node:stream';
import type { Clusters } from '../client/clusters.ts';
import type { Connections, ServerAddresses } from '../client/connection.ts';
import type { Logs } from '../client/logs.ts';
import type { Runs } from '../client/runs.ts';
import type { Secrets } from '../client/secrets.ts';
import { printable } from './output/printable.ts';

export interface Terminal {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  /** True when a person watches stderr: spinners and questions are welcome. */
  readonly interactive: boolean;
}

export interface Mcli {
  readonly runs: Runs;
  readonly logs: Logs;
  readonly clusters: Clusters;
  readonly secrets: Secrets;
}

export class CliContext {
  readonly terminal: Terminal;
  readonly env: NodeJS.ProcessEnv;
  private opened: Promise<{ mcli: Mcli; connections: Connections }> | undefined;

  constructor(terminal: Terminal, env: NodeJS.ProcessEnv) {
    this.terminal = terminal;
    this.env = env;
  }

  /** The servers; starts the local stack where no others are configured. */
  async mcli(): Promise<Mcli> {
    this.opened ??= this.open();
    return (await this.opened).mcli;
  }

  async close(): Promise<void> {
    const opened = await this.opened?.catch(() => undefined);
    await opened?.connections.close();
  }

  /** Data, for people and scripts. */
  print(line: string): void {
    this.terminal.stdout.write(`${printable(line)}\n`);
  }

  /** Everything else. */
  say(line: string): void {
    this.terminal.stderr.write(`${printable(line)}\n`);
  }

  user(): string {
    return this.env['MCLI_USER'] || userInfo().username;
  }

  /** No is the answer where nobody can be asked. */
  async confirm(question: string): Promise<boolean> {
    if (!this.terminal.interactive) return false;
    const prompt = createInterface({ input: this.terminal.stdin, output: this.terminal.stderr });
    try {
      const answer = await prompt.question(`${printable(question)} [y/N] `);
      return /^y(es)?$/i.test(answer.trim());
    } finally {
      prompt.close();
    }
  }

  private async open(): Promise<{ mcli: Mcli; connections: Connections }> {
    // Both take their time: one does not wait for the other.
    const [addresses, { Clusters, Connections, Logs, Runs, Secrets }] = await Promise.all([
      this.addresses(),
      import('../client/index.ts'),
    ]);
    const connections = new Connections(addresses);
    return {
      connections,
      mcli: {
        runs: new Runs(connections),
        logs: new Logs(connections),
        clusters: new Clusters(connections),
        secrets: new Secrets(connections),
      },
    };
  }

  /** Temporal's own conventions decide which servers are meant; without any, the local stack. */
  private async addresses(): Promise<ServerAddresses> {
    const { env } = this;
    const configured = env['TEMPORAL_ADDRESS'] ?? env['TEMPORAL_PROFILE'] ?? env['TEMPORAL_CONFIG_FILE'];
    if (configured === undefined) {
      const { ensureStack } = await import('../stack/local-stack.ts');
      const { temporalAddress, namespace, natsUrl } = await ensureStack({
        env,
        say: (line) => this.say(line),
      });
      return { temporal: { address: temporalAddress }, namespace, natsUrl };
    }
    const { configuredServers } = await import('./configured-servers.ts');
    return await configuredServers(env);
  }
}
