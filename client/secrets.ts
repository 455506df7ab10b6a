/** Secrets, as clients see them: sealed here with the public keys of the nodes, listed and deleted, never read back. */
import { foldersOverlap } from '../core/mount-path.ts';
import { MAX_SECRET_BYTES, summaryOf, userFault } from '../core/secret.ts';
import type { SealedSecret, SecretSummary, StoredSecret } from '../core/secret.ts';
import { describeSecret } from '../core/secret-delivery.ts';
import { secretFault } from '../core/secret-fault.ts';
import { sameRecipients, seal } from '../core/secret-seal.ts';
import { secretBytes, secretSize, sizeFault } from '../core/secret-size.ts';
import type { Connections } from './connection.ts';
import {
  NoNodeKeys,
  SecretClash,
  SecretExists,
  SecretInvalid,
  SecretLimit,
  SecretNotFound,
  UserInvalid,
} from './errors.ts';
import { SecretBuckets } from './secret-buckets.ts';

export class Secrets {
  private readonly connections: Connections;

  constructor(connections: Connections) {
    this.connections = connections;
  }

  /**
   * @throws UserInvalid, SecretInvalid, SecretExists, SecretClash or SecretLimit
   * @throws NoNodeKeys where no node agent could ever open it
   */
  async create(secret: SealedSecret): Promise<SecretSummary> {
    const noUser = userFault(secret.user);
    if (noUser !== undefined) throw new UserInvalid(secret.user, noUser);
    const fault = secretFault(secret.name, secret.content);
    if (fault !== undefined) throw new SecretInvalid(secret.name, fault);
    const bytes = secretBytes(secret.content);
    if (bytes > MAX_SECRET_BYTES) {
      throw new SecretLimit(
        `Secret ${secret.name} is too large`,
        `it has ${bytes} bytes; ${MAX_SECRET_BYTES} are allowed`,
      );
    }
    const buckets = await this.buckets();
    await refuseClash(secret, await summaries(buckets, secret.user));
    let sealed = await sealFor(secret, await nodeKeys(buckets));
    refuseTooLarge(sealed);
    let revision = await buckets.create(sealed);
    if (revision === undefined) throw new SecretExists(secret.name);
    // A node that published its key meanwhile was too early for its peers to pass this secret on to it.
    for (let attempt = 0; attempt < MAX_RESEALS && revision !== undefined; attempt += 1) {
      const recipients = await nodeKeys(buckets);
      if (sameRecipients(recipients, sealed.recipients)) break;
      sealed = { ...(await sealFor(secret, recipients)), createdAt: sealed.createdAt };
      revision = await buckets.replace(sealed, revision);
    }
    return summaryOf(sealed);
  }

  /** Of one user, by name. */
  async list(user: string): Promise<SecretSummary[]> {
    return await summaries(await this.buckets(), user);
  }

  /** @throws SecretNotFound */
  async delete(user: string, name: string): Promise<void> {
    if (!(await (await this.buckets()).delete(user, name))) throw new SecretNotFound(name);
  }

  /**
   * Seals nothing more to the key of a node that is gone, unless another has the same.
   * @returns false where the node had none
   */
  async forgetNode(cluster: string, node: string): Promise<boolean> {
    return await (await this.buckets()).forgetNode(cluster, node);
  }

  private async buckets(): Promise<SecretBuckets> {
    return new SecretBuckets(await this.connections.logs());
  }
}

/** Keys change when nodes come and go: more often than this during one command, and something is wrong. */
const MAX_RESEALS = 5;

/** Of the 1 MiB that NATS takes in a message: another key takes about 250 bytes, so that 250 nodes more have room. */
const MAX_STORED_BYTES = (1024 - 64) * 1024;

async function sealFor(secret: SealedSecret, recipients: readonly string[]): Promise<StoredSecret> {
  const { name, user, content } = secret;
  return {
    name,
    user,
    type: content.type,
    createdAt: new Date().toISOString(),
    ...describeSecret(secret),
    size: secretSize(secret),
    recipients,
    sealed: await seal(JSON.stringify({ user, name, content } satisfies SealedSecret), recipients),
  };
}

/** What fits the length of a message when it is made must fit it when there are more nodes, too. */
function refuseTooLarge(stored: StoredSecret): void {
  const bytes = Buffer.byteLength(JSON.stringify(stored));
  if (bytes <= MAX_STORED_BYTES) return;
  throw new SecretLimit(
    `Secret ${stored.name} is too large`,
    `sealed, it takes ${bytes} bytes, since its text has many characters that JSON writes longer; ${MAX_STORED_BYTES} are allowed`,
  );
}

async function nodeKeys(buckets: SecretBuckets): Promise<readonly string[]> {
  const recipients = await buckets.recipients();
  if (recipients.length === 0) throw new NoNodeKeys();
  return recipients;
}

async function summaries(buckets: SecretBuckets, user: string): Promise<SecretSummary[]> {
  const found = new Map<string, SecretSummary | undefined>();
  for await (const { key, secret } of buckets.entries({ user })) {
    found.set(key, secret && summaryOf(secret));
  }
  return [...found.values()]
    .filter((summary) => summary !== undefined)
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** Of one that was made before sizes were told. */
const NO_SIZE = { bytes: 0, variableBytes: 0, maskedLines: 0 };

/** Of two secrets with the same variable, folder or registry, a run could get only one. */
async function refuseClash(secret: SealedSecret, others: readonly SecretSummary[]): Promise<void> {
  const { variables, mountPath, server } = describeSecret(secret);
  if (others.some(({ name }) => name === secret.name)) throw new SecretExists(secret.name);
  const fault = sizeFault([secretSize(secret), ...others.flatMap(({ size }) => size ?? NO_SIZE)]);
  if (fault !== undefined) {
    throw new SecretLimit(
      `There is no room for secret ${secret.name}`,
      `user ${secret.user} would have too much of all secrets together: ${fault}`,
    );
  }
  for (const other of others) {
    const variable = variables.find((name) => other.variables.includes(name));
    if (variable !== undefined) throw new SecretClash(secret.name, other.name, `the variable ${variable}`);
    if (
      mountPath !== undefined &&
      other.mountPath !== undefined &&
      foldersOverlap(mountPath, other.mountPath)
    ) {
      throw new SecretClash(secret.name, other.name, `the folder ${mountPath}`);
    }
    if (server !== undefined && server === other.server) {
      throw new SecretClash(secret.name, other.name, `the registry ${server}`);
    }
  }
}
