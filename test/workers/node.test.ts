import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { distFile } from '../../stack/package-root.ts';
import { isAlive, signal } from '../../stack/process-identity.ts';
import type { ProcessIdentity } from '../../stack/process-identity.ts';
import { aDockerProxy } from '../support/docker-proxy.ts';
import type { DockerProxy } from '../support/docker-proxy.ts';
import { eventually } from '../support/docker.ts';
import { freePort } from '../support/nats.ts';

let folder: string;
let proxy: DockerProxy;
let agent: ChildProcess | undefined;

beforeEach(async () => {
  [folder, proxy] = await Promise.all([mkdtemp(path.join(tmpdir(), 'mcli-test-agent-')), aDockerProxy()]);
});
afterEach(async () => {
  agent?.kill('SIGKILL');
  // It comes also when its agent is gone by then, and would make the folder again.
  const guard = await eventually(knownGuard, (known) => known !== undefined);
  if (guard) signal(guard, 'SIGKILL');
  await proxy.dispose();
  await rm(folder, { recursive: true });
});

/** As it is built, with servers that are away. */
async function startAgent(more: Readonly<Record<string, string>> = {}): Promise<ChildProcess> {
  agent = spawn(process.execPath, [distFile('node-agent.js')], {
    env: {
      PATH: process.env['PATH'],
      MCLI_CLUSTER: 'test',
      MCLI_NODE: 'test-node',
      MCLI_NODE_GPUS: '0',
      MCLI_NODE_STATE_DIR: folder,
      MCLI_NODE_RUNTIME_DIR: path.join(folder, 'runtime'),
      MCLI_NATS_URL: `nats://127.0.0.1:${await freePort()}`,
      TEMPORAL_ADDRESS: `127.0.0.1:${await freePort()}`,
      DOCKER_HOST: proxy.host,
      ...more,
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  return agent;
}

async function untilItSays({ stderr }: ChildProcess, words: string): Promise<void> {
  let said = '';
  stderr?.on('data', (bytes: Buffer) => (said += bytes.toString()));
  await eventually(
    () => Promise.resolve(said),
    (text) => text.includes(words),
  );
}

async function knownGuard(): Promise<ProcessIdentity | undefined> {
  const text = await readFile(path.join(folder, 'guard.json'), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as ProcessIdentity);
}

describe('a node agent', () => {
  it('has the node guarded before Docker is there, or the certificates, or the control plane', async () => {
    await proxy.goAway();
    await startAgent({ MCLI_NODE_CA_BUNDLE: path.join(folder, 'missing.pem') });
    await eventually(knownGuard, (guard) => guard !== undefined && isAlive(guard));
  });

  it.each(['Docker', 'Temporal'])('leaves when it is told to while it waits for %s', async (server) => {
    if (server === 'Docker') await proxy.goAway();
    const agent = await startAgent();
    await untilItSays(agent, `Waiting for ${server}`);
    agent.kill('SIGTERM');
    expect(await once(agent, 'exit')).toEqual([0, null]);
  });
});
