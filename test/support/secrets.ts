/** Secrets on a real NATS: users who make them, nodes that open them. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { jetstream } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { createIdentityReader } from '../../activities/node-identities.ts';
import { createSecretKeeper } from '../../activities/secret-keeper.ts';
import { createSecretStore } from '../../activities/secrets.ts';
import { Connections } from '../../client/connection.ts';
import { SecretBuckets } from '../../client/secret-buckets.ts';
import { Secrets } from '../../client/secrets.ts';
import { newIdentityText } from '../../core/secret-seal.ts';

/** The client of a user. Temporal is never asked. */
export function secretsClient(natsUrl: string): Secrets & AsyncDisposable {
  const connections = new Connections({ temporal: {}, namespace: 'none', natsUrl });
  return Object.assign(new Secrets(connections), {
    [Symbol.asyncDispose]: () => connections.close(),
  });
}

/** Some tests wait for one to run out. */
const REQUEST_TIMEOUT_MS = 500;

/** What a node agent has for secrets, without the agent. */
export async function aSecretNode(connection: NatsConnection, node: string) {
  const folder = await mkdtemp(path.join(tmpdir(), 'mcli-test-node-'));
  const keyFile = path.join(folder, 'node.key');
  const said: string[] = [];
  const cluster = { hasNode: true };
  const own = { seal: async (): Promise<void> => undefined };
  const buckets = Promise.resolve(new SecretBuckets(jetstream(connection, { timeout: REQUEST_TIMEOUT_MS })));
  const identities = createIdentityReader(keyFile, (message) => said.push(message));
  const keeper = createSecretKeeper({
    buckets,
    identities,
    place: { cluster: 'c', node },
    isInCluster: async () => cluster.hasNode,
    sealOwn: () => own.seal(),
    say: (message) => said.push(message),
  });
  /** The newest first. */
  const keys: string[] = [];
  const save = () => writeFile(keyFile, keys.join('\n'), { mode: 0o600 });
  return {
    keyFile,
    folder,
    identities,
    buckets,
    said,
    /** As the cluster has it. */
    cluster,
    /** What else the node has sealed. */
    own,
    look: () => keeper.look(),
    store: (passOnMs: number) => createSecretStore({ buckets, identities, node, passOnMs }),
    /** What the node has of a user's secrets, as `name=content`. */
    async opens(user: string): Promise<string[]> {
      const store = createSecretStore({ buckets, identities, node, passOnMs: 0 });
      const opened = await store.openFor(user, AbortSignal.timeout(10_000));
      return opened.map(({ name, content }) => `${name}=${JSON.stringify(content)}`).toSorted();
    },
    async newKey(): Promise<string> {
      const { text, recipient } = await newIdentityText(new Date());
      keys.unshift(text);
      await save();
      return recipient;
    },
    async dropOlderKeys(): Promise<void> {
      keys.splice(1);
      await save();
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

export type SecretNode = Awaited<ReturnType<typeof aSecretNode>>;
