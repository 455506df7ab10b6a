import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { stackHome } from '../../stack/home.ts';
import { natsConfigText } from '../../stack/parts.ts';
import { eventually } from '../support/docker.ts';
import { freePort, natsServerBinary } from '../support/nats.ts';

async function ofDeployment(folder: string): Promise<string> {
  const text = await readFile(path.resolve(import.meta.dirname, '../../deploy/nats/nats.conf'), 'utf8');
  return text.replace('store_dir: /data', `store_dir: "${folder}"`);
}

function ofLocalStack(folder: string): string {
  const ports = { temporal: 1, temporalHttp: 1, temporalUi: 1, nats: 1, natsMonitor: 1 };
  return natsConfigText(stackHome({ MCLI_HOME: folder }), ports);
}

it.each([
  ['of a deployment', ofDeployment],
  ['of the local stack', ofLocalStack],
])('the NATS %s has a message on its disk before it acknowledges it', async (_, configFor) => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'mcli-test-nats-'));
  const file = path.join(folder, 'nats.conf');
  await writeFile(file, await configFor(folder));
  const [port, monitorPort] = [await freePort(), await freePort()];
  const address = ['-a', '127.0.0.1', '-p', String(port), '-m', String(monitorPort)];
  const server = spawn(natsServerBinary(), ['-c', file, ...address], { stdio: 'ignore' });
  const gone = once(server, 'exit');
  try {
    const ask = async (): Promise<unknown> => (await fetch(`http://127.0.0.1:${monitorPort}/jsz`)).json();
    const answer = await eventually(
      () => ask().catch(() => undefined),
      (json) => json !== undefined,
    );
    expect(answer).toMatchObject({ config: { sync_always: true } });
  } finally {
    server.kill('SIGKILL');
    await gone;
    await rm(folder, { recursive: true });
  }
});
