import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectToNats } from '../../workers/nats-connection.ts';
import { startNats } from '../support/nats.ts';
import type { TestNats } from '../support/nats.ts';
import { aNatsAccount } from '../support/nats-credentials.ts';

let nats: TestNats;
let natsCredentialsPath: string;

beforeEach(async () => {
  nats = await startNats();
  natsCredentialsPath = path.join(nats.folder, 'user.creds');
});
afterEach(() => nats.dispose());

describe('the connection of a node to NATS', () => {
  it('outlives refusals, and takes renewed credentials', async () => {
    const [first, second] = [aNatsAccount(), aNatsAccount()];
    await nats.restart(first.serverConfig);
    await writeFile(natsCredentialsPath, first.credentials);
    const connection = await connectToNats({ natsServers: [nats.url], natsCredentialsPath });
    try {
      await connection.rtt();
      await nats.restart(second.serverConfig);
      await refusals(connection, 3);
      await writeFile(natsCredentialsPath, '');
      await refusals(connection, 1);
      await writeFile(natsCredentialsPath, second.credentials);
      await expect.poll(() => connection.rtt().catch(() => -1), { timeout: 10_000 }).toBeGreaterThan(-1);
    } finally {
      await connection.close();
    }
  });

  it('says when its file of credentials is not there', async () => {
    await expect(connectToNats({ natsServers: [nats.url], natsCredentialsPath })).rejects.toThrow(
      'user.creds',
    );
  });
});

async function refusals(connection: Awaited<ReturnType<typeof connectToNats>>, times: number): Promise<void> {
  let seen = 0;
  for await (const { type } of connection.status()) {
    if (type === 'error') seen += 1;
    if (seen === times) return;
  }
  throw new Error('The connection was closed for good.');
}
