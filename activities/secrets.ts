/** Opens the secrets of a user on a node that holds a lease of one of the user's runs. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { SecretBuckets } from '../client/secret-buckets.ts';
import { SecretStoreSilent } from '../client/errors.ts';
import type { SealedSecret, Secret, StoredSecret } from '../core/secret.ts';
import { unseal } from '../core/secret-seal.ts';
import type { NodeIdentities, ReadIdentities } from './node-identities.ts';
import { unlessAborted } from './unless-aborted.ts';

export interface SecretStore {
  /**
   * All secrets of a user. Waits for NATS for as long as it is away, and for a while for another node to pass on what
   * was sealed before this node came.
   * @throws UnreadableSecret when one of them cannot be opened here
   */
  openFor(user: string, signal: AbortSignal): Promise<readonly Secret[]>;
}

/** The message is for the user; it holds nothing of the content. */
export class UnreadableSecret extends Error {
  override readonly name = 'UnreadableSecret';
}

interface Dependencies {
  /** Resolves when NATS was reached for the first time. */
  readonly buckets: Promise<SecretBuckets>;
  readonly identities: ReadIdentities;
  readonly node: string;
  /** How long another node may take to pass a secret on, in milliseconds. */
  readonly passOnMs?: number;
}

const RETRY_MS = 1_000;
/** Agents look for new keys every 5 s. */
const PASS_ON_MS = 30_000;

export function createSecretStore({
  buckets,
  identities,
  node,
  passOnMs = PASS_ON_MS,
}: Dependencies): SecretStore {
  return {
    async openFor(user, signal) {
      const deadline = Date.now() + passOnMs;
      let said = false;
      for (;;) {
        try {
          const answer = await openAll(user, signal);
          if (answer.closed.length === 0) return answer.opened;
          if (!answer.othersCan || Date.now() > deadline)
            throw unreadable(answer.closed, node, await identities());
        } catch (error) {
          if (!(error instanceof SecretStoreSilent)) throw error;
          if (!said) console.error(`Secrets of ${user} are waited for: ${error.why}`);
          said = true;
        }
        await sleep(RETRY_MS, undefined, { signal });
      }
    },
  };

  async function openAll(user: string, signal: AbortSignal): Promise<Answer> {
    const store = await unlessAborted(buckets, signal);
    const stored: StoredSecret[] = [];
    for await (const { secret } of store.secrets(user)) stored.push(secret);
    const known = await identities();
    const closed = stored.filter((secret) => !canOpen(secret, known));
    if (closed.length > 0) {
      const others = await store.recipients();
      const othersCan = closed.every(({ recipients }) => recipients.some((key) => others.includes(key)));
      return { opened: [], closed, othersCan: othersCan && known.identities.length > 0 };
    }
    return {
      opened: await Promise.all(stored.map((secret) => openSecret(secret, known))),
      closed,
      othersCan: false,
    };
  }
}

interface Answer {
  readonly opened: readonly Secret[];
  /** Sealed to keys that this node does not have. */
  readonly closed: readonly StoredSecret[];
  readonly othersCan: boolean;
}

export function canOpen({ recipients }: StoredSecret, own: NodeIdentities): boolean {
  return own.recipients.some((recipient) => recipients.includes(recipient));
}

/**
 * What is beside the seal is only a label, which fits the place of the secret; the seal must fit the label.
 * @throws UnreadableSecret
 */
export async function openSecret(stored: StoredSecret, own: NodeIdentities): Promise<SealedSecret> {
  const { user, name, sealed } = stored;
  let secret: SealedSecret;
  try {
    secret = JSON.parse(await unseal(sealed, own.identities)) as SealedSecret;
  } catch {
    // Without the cause: an error of the JSON parser quotes the text.
    throw new UnreadableSecret(`Secret ${name} is damaged: delete it and create it again.`);
  }
  if (secret.user !== user || secret.name !== name) {
    throw new UnreadableSecret(`Secret ${name} was sealed for another user or under another name.`);
  }
  return secret;
}

function unreadable(
  secrets: readonly StoredSecret[],
  node: string,
  { identities }: NodeIdentities,
): UnreadableSecret {
  const names = secrets.map(({ name }) => name).join(', ');
  const why =
    identities.length === 0
      ? `node ${node} has no key`
      : `node ${node} does not have the key that ${secrets.length === 1 ? 'it is' : 'they are'} sealed to`;
  return new UnreadableSecret(`Secret ${names} cannot be opened: ${why}.`);
}
