/** What the permissions of docs/secrets.md let a user do, and not do, on a server that has exactly them. */
import { readFile } from 'node:fs/promises';
import { Kvm } from '@nats-io/kv';
import { jetstream } from '@nats-io/jetstream';
import { connect, headers } from '@nats-io/transport-node';
import type { NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLogStream } from '../../activities/log-stream.ts';
import { Connections } from '../../client/connection.ts';
import { Logs } from '../../client/logs.ts';
import { Secrets } from '../../client/secrets.ts';
import { KEYS_BUCKET, nodeKey, secretKey, SECRETS_BUCKET } from '../../core/secret.ts';
import type { SealedSecret } from '../../core/secret.ts';
import { newIdentityText } from '../../core/secret-seal.ts';
import type { TestNats } from '../support/nats.ts';
import { startNats } from '../support/nats.ts';
import type { SecretNode } from '../support/secrets.ts';
import { aSecretNode, secretsClient } from '../support/secrets.ts';

let nats: TestNats;
let agent: NatsConnection;
let alice: NatsConnection;
let node: SecretNode;
/** Of alice: so counts who gives no name. */
let client: ReturnType<typeof secretsClient>;
/** Of somebody whose permissions have no limits. */
let others: Secrets;

beforeAll(async () => {
  nats = await startNats();
  const permissions = await documentedPermissions();
  await nats.restart(`
    listen: "${new URL(nats.url).host}"
    jetstream { store_dir: "${nats.folder}" }
    no_auth_user: alice
    authorization { users = [
      { user: agent, password: agent }
      { user: alice, password: alice, permissions: { ${permissions} } }
    ] }`);
  const patience = { servers: nats.url, waitOnFirstConnect: true };
  agent = await connect({ ...patience, user: 'agent', pass: 'agent' });
  alice = await connect(patience);
  // As `nats kv add` makes it.
  await new Kvm(jetstream(agent)).create(SECRETS_BUCKET, { history: 5 });
  node = await aSecretNode(agent, 'n0');
  await node.newKey();
  await node.look();
  client = secretsClient(nats.url);
  others = new Secrets({ logs: async () => jetstream(agent) } as unknown as Connections);
});
afterAll(async () => {
  await client[Symbol.asyncDispose]();
  await Promise.all([agent.close(), alice.close()]);
  await node.remove();
  await nats.dispose();
});

async function documentedPermissions(): Promise<string> {
  const text = await readFile(new URL('../../docs/secrets.md', import.meta.url), 'utf8');
  const block = /^```\n(#.*\npublish = [^`]*)^```$/m.exec(text)?.[1];
  if (block === undefined) throw new Error('docs/secrets.md has no permissions any more.');
  return block;
}

const variable = (user: string, name: string): SealedSecret => ({
  user,
  name,
  content: { type: 'environment', key: name.toUpperCase(), value: `of ${user}` },
});

it('lets her make, list and delete her secrets, and read logs', async () => {
  await client.create(variable('alice', 'own'));
  expect(await node.opens('alice')).toHaveLength(1);
  expect((await client.list('alice')).map(({ name }) => name)).toEqual(['own']);
  await client.delete('alice', 'own');
  expect(await client.list('alice')).toEqual([]);

  const ref = { run: 'r', resumption: 0, rank: 0 };
  const stream = createLogStream(Promise.resolve(agent));
  const entry = { stream: 'stdout', timeNs: 0n, bytes: Buffer.from('line\n') } as const;
  await stream.append(ref, await stream.position(ref), { entries: [entry], endReason: 'exit 0' });
  const connections = new Connections({ temporal: {}, namespace: 'none', natsUrl: nats.url });
  const chunks = [];
  const options = { ended: Promise.resolve(), signal: AbortSignal.timeout(10_000) };
  for await (const chunk of new Logs(connections).follow({ run: 'r', ranks: 1 }, options)) chunks.push(chunk);
  expect(chunks.flatMap(({ entries }) => entries)).toHaveLength(1);
  await connections.close();
});

it('lets her touch no secret of another user', async () => {
  await others.create(variable('bob', 'token'));
  await expect(client.create(variable('bob', 'more'))).rejects.toThrow('does not answer');
  await expect(client.delete('bob', 'token')).rejects.toThrow('does not answer');
  expect(await node.opens('bob')).toHaveLength(1);
});

it.each(['all', 'sub'])(
  'lets no message of hers take the place of all others: Nats-Rollup: %s',
  async (scope) => {
    const rollup = headers();
    rollup.set('Nats-Rollup', scope);
    const subject = `$KV.${SECRETS_BUCKET}.${secretKey('alice', 'x')}`;
    await expect(jetstream(alice).publish(subject, '', { headers: rollup })).rejects.toThrow('rollup');
    expect(await node.opens('bob')).toHaveLength(1);
    const config = (await (await jetstream(agent).jetstreamManager()).streams.info(`KV_${SECRETS_BUCKET}`))
      .config;
    expect(config).toMatchObject({ allow_rollup_hdrs: false, max_msgs_per_subject: 1 });
  },
);

it('lets her add no key that secrets would be sealed to', async () => {
  const before = await (await node.buckets).recipients();
  const { recipient } = await newIdentityText(new Date());
  const key = `$KV.${KEYS_BUCKET}.${nodeKey('c', 'n1')}`;
  const own = `$KV.${SECRETS_BUCKET}.${secretKey('alice', 'key')}`;
  await jetstream(alice).publish(own, recipient);
  alice.publish(key, recipient);
  // A server delivers what a consumer asks for to wherever it is asked to.
  const consumer = { ack_policy: 'none', filter_subject: own, deliver_subject: key, name: 'c' };
  const request = { stream_name: `KV_${SECRETS_BUCKET}`, config: consumer, action: 'create' };
  alice.publish(`$JS.API.CONSUMER.CREATE.KV_${SECRETS_BUCKET}.c.${own}`, JSON.stringify(request));
  await alice.flush();
  await node.look();
  expect(await (await node.buckets).recipients()).toEqual(before);
});

it('lets an answer to her be written over a secret, which is gone, and over a key, which comes back', async () => {
  const ask = `$JS.API.STREAM.MSG.GET.KV_${SECRETS_BUCKET}`;
  const key = `$KV.${KEYS_BUCKET}.${nodeKey('c', 'n0')}`;
  alice.publish(ask, '', { reply: key });
  alice.publish(ask, '', { reply: `$KV.${SECRETS_BUCKET}.${secretKey('bob', 'token')}` });
  await alice.flush();
  await expect.poll(() => node.opens('bob')).toEqual([]);
  await expect.poll(async () => (await node.buckets).recipients()).toEqual([]);
  await node.look();
  expect(await (await node.buckets).recipients()).toHaveLength(1);
});
