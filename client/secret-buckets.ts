/** The two buckets in the key-value store of NATS: sealed secrets, and the public keys of nodes. */
import { JetStreamApiCodes, JetStreamApiError } from '@nats-io/jetstream';
import type { JetStreamClient } from '@nats-io/jetstream';
import type { KV } from '@nats-io/kv';
import { Kvm } from '@nats-io/kv';
import { errors } from '@nats-io/transport-node';
import {
  KEYS_BUCKET,
  nodeKey,
  parseStoredSecret,
  secretKey,
  SECRETS_BUCKET,
  secretsOfUser,
} from '../core/secret.ts';
import type { StoredSecret } from '../core/secret.ts';
import { isRecipient } from '../core/secret-seal.ts';
import { SecretStoreSilent } from './errors.ts';

/** A stored secret, and its revision: who replaces it must have seen the last one. */
export interface SecretEntry {
  readonly secret: StoredSecret;
  readonly revision: number;
}

/** Every method throws SecretStoreSilent when NATS does not answer. */
export class SecretBuckets {
  private readonly manager: Kvm;

  constructor(client: JetStreamClient) {
    this.manager = new Kvm(client);
  }

  /** Those of one user, or all; one at a time, since all of them may be large. */
  async *secrets(user?: string): AsyncGenerator<SecretEntry> {
    const bucket = await heard(() => this.open(SECRETS_BUCKET));
    if (bucket === undefined) return;
    for (const key of await heard(() => keysOf(bucket, user === undefined ? '>' : secretsOfUser(user)))) {
      const entry = await heard(() => bucket.get(key));
      const secret = entry?.operation === 'PUT' ? parseStoredSecret(key, entry.string()) : undefined;
      if (entry && secret) yield { secret, revision: entry.revision };
    }
  }

  /** @returns its revision, or undefined when there is one of this name. */
  async create(secret: StoredSecret): Promise<number | undefined> {
    return await heard(async () => {
      const bucket = await this.openOrMake(SECRETS_BUCKET);
      return await unlessChanged(() =>
        bucket.create(secretKey(secret.user, secret.name), JSON.stringify(secret)),
      );
    });
  }

  /** @returns the new revision, or undefined when it was changed or deleted since. */
  async replace({ secret, revision }: SecretEntry): Promise<number | undefined> {
    return await heard(async () => {
      const bucket = await this.openOrMake(SECRETS_BUCKET);
      return await unlessChanged(() =>
        bucket.update(secretKey(secret.user, secret.name), JSON.stringify(secret), revision),
      );
    });
  }

  /** @returns false when there is none of this name. */
  async delete(user: string, name: string): Promise<boolean> {
    return await heard(async () => {
      const bucket = await this.open(SECRETS_BUCKET);
      const entry = await bucket?.get(secretKey(user, name));
      if (bucket === undefined || entry?.operation !== 'PUT') return false;
      await bucket.purge(secretKey(user, name));
      return true;
    });
  }

  /** Public keys of all nodes, sorted. */
  async recipients(): Promise<string[]> {
    return await heard(async () => {
      const bucket = await this.open(KEYS_BUCKET);
      const found = new Set<string>();
      for (const key of bucket === undefined ? [] : await keysOf(bucket, '>')) {
        const entry = await bucket?.get(key);
        if (entry?.operation === 'PUT' && isRecipient(entry.string())) found.add(entry.string());
      }
      return [...found].toSorted();
    });
  }

  /** Changes whenever a node publishes or loses a key. */
  async recipientsVersion(): Promise<number> {
    return await heard(async () => {
      const status = await (await this.open(KEYS_BUCKET))?.status();
      return status?.streamInfo.state.last_seq ?? 0;
    });
  }

  /** Makes both buckets where they are missing: clients need no permission to do so. */
  async publishRecipient(cluster: string, node: string, recipient: string): Promise<void> {
    await heard(async () => {
      await this.openOrMake(SECRETS_BUCKET);
      const bucket = await this.openOrMake(KEYS_BUCKET);
      const known = await bucket.get(nodeKey(cluster, node));
      if (known?.operation === 'PUT' && known.string() === recipient) return;
      await bucket.put(nodeKey(cluster, node), recipient);
    });
  }

  async forgetNode(cluster: string, node: string): Promise<void> {
    await heard(async () => (await this.open(KEYS_BUCKET))?.purge(nodeKey(cluster, node)));
  }

  private async openOrMake(name: string): Promise<KV> {
    // One that an operator made, with other replicas or limits, stays as it is.
    return (await this.open(name)) ?? (await this.manager.create(name));
  }

  private async open(name: string): Promise<KV | undefined> {
    const bucket = await this.manager.open(name);
    try {
      await bucket.status();
      return bucket;
    } catch (error) {
      if (isApiError(error, JetStreamApiCodes.StreamNotFound)) return undefined;
      throw error;
    }
  }
}

async function keysOf(bucket: KV, filter: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const key of await bucket.keys(filter)) keys.push(key);
  return keys.toSorted();
}

async function unlessChanged(write: () => Promise<number>): Promise<number | undefined> {
  try {
    return await write();
  } catch (error) {
    if (isApiError(error, JetStreamApiCodes.StreamWrongLastSequence)) return undefined;
    throw error;
  }
}

async function heard<T>(question: () => Promise<T>): Promise<T> {
  try {
    return await question();
  } catch (error) {
    throw SILENCE.some((kind) => error instanceof kind) ? new SecretStoreSilent(error) : error;
  }
}

/** What the client of NATS throws when it is not answered: the server is gone, or has no JetStream. */
const SILENCE = [
  errors.TimeoutError,
  errors.NoRespondersError,
  errors.RequestError,
  errors.ConnectionError,
  errors.ClosedConnectionError,
  errors.PermissionViolationError,
];

function isApiError(error: unknown, code: number): boolean {
  return error instanceof JetStreamApiError && error.code === code;
}
