/** Opens the secrets of a user on a node that holds a lease of one of the user's runs. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { SecretBuckets } from '../client/secret-buckets.ts';
import { SecretStoreSilent } from '../client/errors.ts';
import type { FailureType } from '../core/failures.ts';
import type { SealedSecret, Secret, StoredSecret } from '../core/secret.ts';
import { secretFault } from '../core/secret-fault.ts';
import { unseal } from '../core/secret-seal.ts';
import { secretSize, sizeFault } from '../core/secret-size.ts';
import type { NodeIdentities, ReadIdentities } from './node-identities.ts';
import { unlessAborted } from './unless-aborted.ts';

export interface SecretStore {
  /**
   * All secrets of a user. Waits for NATS for as long as it is away, and for a while for another node to pass on what
   * was sealed before this node came.
   * @throws UnreadableSecret when one of them cannot be opened here, or not be used
   */
  openFor(user: string, signal: AbortSignal): Promise<readonly Secret[]>;
}

/** The message is for the user; it holds nothing of the content. */
export class UnreadableSecret extends Error {
  override readonly name = 'UnreadableSecret';
  readonly type: FailureType;

  constructor(message: string, type: FailureType = 'SecretUnreadable') {
    super(message);
    this.type = type;
  }
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
/** Above what the largest that are allowed take. Who has put more there himself must not fill the agent's memory. */
const MAX_SEALED_BYTES = 16 * 1024 * 1024;
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
          if (!answer.othersCan || Date.now() > deadline) throw unreadable(answer, node, passOnMs);
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
    const entries = new Map<string, StoredSecret | undefined>();
    let sealedBytes = 0;
    for await (const { key, secret } of store.entries({ user })) {
      entries.set(key, secret);
      sealedBytes += secret?.sealed.length ?? 0;
      if (sealedBytes > MAX_SEALED_BYTES) throw tooMuch(user, `sealed, they are ${sealedBytes} bytes`);
    }
    const stored = [...entries.values()].filter((secret) => secret !== undefined);
    const known = await identities();
    const closed = stored.filter((secret) => !canOpen(secret, known));
    if (closed.length > 0) {
      const others = await store.recipients();
      const othersCan = closed.every(({ recipients }) => recipients.some((key) => others.includes(key)));
      const hasKey = known.identities.length > 0;
      return { opened: [], closed, hasKey, othersCan: othersCan && hasKey };
    }
    const opened = await Promise.all(stored.map((secret) => openSecret(secret, known)));
    const fault = sizeFault(opened.map(secretSize));
    if (fault !== undefined) throw tooMuch(user, fault);
    return { opened, closed, hasKey: true, othersCan: false };
  }
}

interface Answer {
  readonly opened: readonly Secret[];
  /** Sealed to keys that this node does not have. */
  readonly closed: readonly StoredSecret[];
  readonly hasKey: boolean;
  /** Another node could pass them on. */
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
  let secret: SealedSecret | null;
  try {
    secret = JSON.parse(await unseal(sealed, own.identities)) as SealedSecret | null;
  } catch {
    // Without the cause: an error of the JSON parser quotes the text.
    throw new UnreadableSecret(`Secret ${name} is damaged: delete it and create it again.`);
  }
  if (secret?.user !== user || secret.name !== name) {
    throw new UnreadableSecret(`Secret ${name} was sealed for another user or under another name.`);
  }
  const fault = secretFault(name, secret.content);
  if (fault === undefined) return secret;
  throw new UnreadableSecret(`Secret ${name} cannot be used: ${fault}. Delete it and create it again.`);
}

function unreadable({ closed, hasKey, othersCan }: Answer, node: string, passOnMs: number): UnreadableSecret {
  const sentence = `Secret ${closed.map(({ name }) => name).join(', ')} cannot be opened`;
  if (!hasKey) return new UnreadableSecret(`${sentence}: node ${node} has no key.`, 'NodeWithoutKey');
  const are = closed.length === 1 ? 'it is' : 'they are';
  const why = `node ${node} does not have the key that ${are} sealed to`;
  if (!othersCan) return new UnreadableSecret(`${sentence}: ${why}.`);
  return new UnreadableSecret(
    `${sentence}: ${why}, and no other node has passed it on within ${passOnMs / 1_000} s.`,
    'SecretNotPassedOn',
  );
}

function tooMuch(user: string, fault: string): UnreadableSecret {
  return new UnreadableSecret(
    `The secrets of ${user} are too much for a run: ${fault}. Delete some of them.`,
  );
}
