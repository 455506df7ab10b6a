/** The two buckets in the key-value store of NATS: sealed secrets, and the public keys of nodes. */
import {
  DiscardPolicy,
  JetStreamApiCodes,
  JetStreamApiError,
  JetStreamError,
  RetentionPolicy,
} from '@nats-io/jetstream';
import type { JetStreamClient, NextMsgRequest, StoredMsg } from '@nats-io/jetstream';
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
  userFault,
} from '../core/secret.ts';
import type { StoredSecret } from '../core/secret.ts';
import { isRecipient } from '../core/secret-seal.ts';
import { SecretLimit, SecretStoreSilent } from './errors.ts';

/** What stands under a key. Who replaces it must have seen its last revision. */
export interface SecretEntry {
  readonly key: string;
  readonly revision: number;
  /** Undefined where it was deleted, or is none. */
  readonly secret: StoredSecret | undefined;
}

export interface PublishedKey {
  /** 0 where nothing was ever published. */
  readonly revision: number;
  /** Absent, too, when an operator has deleted the node. */
  readonly recipient?: string;
}

/** Every method throws SecretStoreSilent when NATS does not answer. */
export class SecretBuckets {
  private readonly client: JetStreamClient;
  private readonly buckets: Kvm;

  constructor(client: JetStreamClient) {
    this.client = client;
    this.buckets = new Kvm(client);
  }

  /**
   * Those of one user, or all, behind a revision; one at a time, since all of them may be large. Of one that is written
   * meanwhile comes the old entry, too: the last of a key counts.
   */
  async *entries({ user, after = 0 }: { user?: string; after?: number }): AsyncGenerator<SecretEntry> {
    if (user !== undefined && userFault(user) !== undefined) return;
    const filter = user === undefined ? '>' : secretsOfUser(user);
    for await (const { key, message } of this.messages(SECRETS_BUCKET, filter, after)) {
      const secret = isWritten(message) ? parseStoredSecret(key, message.string()) : undefined;
      yield { key, revision: message.seq, secret };
    }
  }

  /** @returns its revision, or undefined when there is one of this name. */
  async create(secret: StoredSecret): Promise<number | undefined> {
    const key = secretKey(secret.user, secret.name);
    return await this.write(SECRETS_BUCKET, (bucket) => bucket.create(key, JSON.stringify(secret)));
  }

  /** @returns the new revision, or undefined when it was changed or deleted since. */
  async replace(secret: StoredSecret, revision: number): Promise<number | undefined> {
    const key = secretKey(secret.user, secret.name);
    return await this.write(SECRETS_BUCKET, (bucket) => bucket.update(key, JSON.stringify(secret), revision));
  }

  /** @returns false when there is none of this name. */
  async delete(user: string, name: string): Promise<boolean> {
    return await this.remove(SECRETS_BUCKET, secretKey(user, name));
  }

  /** Public keys of all nodes, sorted. */
  async recipients(): Promise<string[]> {
    const found = new Map<string, string>();
    for await (const { key, message } of this.messages(KEYS_BUCKET, '>', 0)) {
      found.set(key, isWritten(message) ? message.string() : '');
    }
    return [...new Set(found.values())].filter(isRecipient).toSorted();
  }

  /** Changes whenever a node publishes or loses a key. */
  async recipientsVersion(): Promise<number> {
    return (await this.unlessMissing(() => this.streamOf(KEYS_BUCKET)))?.state.last_seq ?? 0;
  }

  /** What a node has published. */
  async published(cluster: string, node: string): Promise<PublishedKey> {
    const entry = await this.unlessMissing(async () =>
      (await this.buckets.open(KEYS_BUCKET)).get(nodeKey(cluster, node)),
    );
    if (!entry) return { revision: 0 };
    return { revision: entry.revision, ...(entry.operation === 'PUT' && { recipient: entry.string() }) };
  }

  /** Does nothing when something else was published, or the node was forgotten, since `revision`. */
  async publish(cluster: string, node: string, recipient: string, revision: number): Promise<void> {
    await this.write(KEYS_BUCKET, (bucket) =>
      bucket.put(nodeKey(cluster, node), recipient, { previousSeq: revision }),
    );
  }

  /** @returns false when the node has no key there. */
  async forgetNode(cluster: string, node: string): Promise<boolean> {
    return await this.remove(KEYS_BUCKET, nodeKey(cluster, node));
  }

  /**
   * Makes both buckets where they are missing: clients need no permission to do so. Of those that an operator made, with
   * other replicas or limits, only that is changed by which one user could delete what belongs to others: a message with
   * the header `Nats-Rollup` takes the place of all.
   */
  async prepare(): Promise<void> {
    const { streams } = await this.manager();
    for (const bucket of [SECRETS_BUCKET, KEYS_BUCKET]) {
      const known = await this.unlessMissing(() => this.streamOf(bucket));
      await heard(async () => {
        if (known === undefined) await streams.add({ ...BUCKET, ...PROTECTED, ...names(bucket) });
        else if (known.config.allow_rollup_hdrs || known.config.max_msgs_per_subject !== 1) {
          await streams.update(streamName(bucket), PROTECTED);
        }
      });
    }
  }

  /** The last ones of all keys, in the order in which they were written. */
  private async *messages(
    bucket: string,
    filter: string,
    after: number,
  ): AsyncGenerator<{ readonly key: string; readonly message: StoredMsg }> {
    const prefix = subject(bucket, '');
    const { streams } = await this.manager();
    // It ends unless somebody writes as fast as this reads.
    for (let seq = after + 1; ;) {
      const next: NextMsgRequest & { seq: number } = { seq, next_by_subj: subject(bucket, filter) };
      const message = await this.unlessMissing(() => streams.getMessage(streamName(bucket), next));
      if (!message) return;
      yield { key: message.subject.slice(prefix.length), message };
      seq = message.seq + 1;
    }
  }

  private async write(name: string, put: (bucket: KV) => Promise<number>): Promise<number | undefined> {
    return await heard(async () => {
      try {
        return await put(await this.buckets.open(name));
      } catch (error) {
        if (isApiError(error, JetStreamApiCodes.StreamWrongLastSequence)) return undefined;
        if (error instanceof errors.InvalidArgumentError) throw new SecretLimit(TOO_LARGE, MAX_PAYLOAD);
        throw error;
      }
    });
  }

  private async remove(name: string, key: string): Promise<boolean> {
    return (
      (await this.unlessMissing(async () => {
        const bucket = await this.buckets.open(name);
        const entry = await bucket.get(key);
        if (entry === null) return false;
        // The mark takes the place of the value, since a bucket keeps one message of each key. A mark takes the place of
        // another, too: it is newer than what somebody has read who is about to write the value again.
        await bucket.delete(key);
        return entry.operation === 'PUT';
      })) ?? false
    );
  }

  private async streamOf(bucket: string) {
    return await (await this.manager()).streams.info(streamName(bucket));
  }

  /** Without asking the server for the account first. */
  private async manager() {
    return await this.client.jetstreamManager(false);
  }

  /** Undefined while no agent has made the bucket. */
  private async unlessMissing<T>(question: () => Promise<T>): Promise<T | undefined> {
    return await heard(async () => {
      try {
        return await question();
      } catch (error) {
        if (isApiError(error, JetStreamApiCodes.StreamNotFound)) return undefined;
        throw error;
      }
    });
  }
}

const TOO_LARGE = 'The secret is too large';
const MAX_PAYLOAD = 'sealed, it does not fit into a message of this NATS (max_payload)';

/** How the store of NATS stores a bucket. */
const streamName = (bucket: string): string => `KV_${bucket}`;
const subject = (bucket: string, key: string): string => `$KV.${bucket}.${key}`;
const names = (bucket: string) => ({ name: streamName(bucket), subjects: [subject(bucket, '>')] });
const BUCKET = { retention: RetentionPolicy.Limits, discard: DiscardPolicy.New, allow_direct: true };
const PROTECTED = { max_msgs_per_subject: 1, allow_rollup_hdrs: false };

/** Other messages are marks of what was deleted. */
const isWritten = ({ header }: StoredMsg): boolean => header.get('KV-Operation') === '';

async function heard<T>(question: () => Promise<T>): Promise<T> {
  try {
    return await question();
  } catch (error) {
    throw isSilence(error) ? new SecretStoreSilent(error) : error;
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

function isSilence(error: unknown): boolean {
  if (SILENCE.some((kind) => error instanceof kind)) return true;
  // A server that starts, shuts down, chooses a leader, or has no room says so in one of these ways.
  if (error instanceof JetStreamApiError) return error.status >= 500;
  return error instanceof JetStreamError || (error instanceof Error && error.name === 'JetStreamNotEnabled');
}

function isApiError(error: unknown, code: number): boolean {
  return error instanceof JetStreamApiError && error.code === code;
}
