/** Where the local stack keeps everything: one folder, and two folders are two stacks. */
import os from 'node:os';
import path from 'node:path';

export interface StackHome {
  readonly root: string;
  /** What is wanted: settings, ports, up or down. Written by commands, and by the supervisor when a port is taken. */
  readonly config: string;
  /** What is there: processes and their readiness. Written by the supervisor only. */
  readonly state: string;
  readonly supervisorLock: string;
  readonly setupLock: string;
  readonly logs: string;
  readonly temporalDb: string;
  readonly natsData: string;
  readonly natsConfig: string;
  readonly tools: string;
  /** Private keys of the nodes, one file for each cluster. */
  readonly keys: string;
  /** One folder per node, for what its agent has to remember. */
  readonly nodes: string;
}

/** `$MCLI_HOME`, by default `~/.mcli`. Makes nothing. */
export function stackHome(env: NodeJS.ProcessEnv = process.env): StackHome {
  const root = path.resolve(env['MCLI_HOME'] || path.join(os.homedir(), '.mcli'));
  return {
    root,
    config: path.join(root, 'stack.json'),
    state: path.join(root, 'stack-state.json'),
    supervisorLock: path.join(root, 'locks', 'supervisor'),
    setupLock: path.join(root, 'locks', 'set-up'),
    logs: path.join(root, 'logs'),
    temporalDb: path.join(root, 'data', 'temporal.db'),
    natsData: path.join(root, 'data', 'nats'),
    natsConfig: path.join(root, 'data', 'nats.conf'),
    tools: path.join(root, 'tools'),
    keys: path.join(root, 'keys'),
    nodes: path.join(root, 'nodes'),
  };
}

/** The private key of the nodes of a cluster. */
export const nodeKeyFile = (home: StackHome, cluster: string): string =>
  path.join(home.keys, `${encodeURIComponent(cluster)}.key`);
