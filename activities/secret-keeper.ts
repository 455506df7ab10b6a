/**
 * Keeps every secret sealed to the keys that nodes have now: publishes this node's public key, and seals again what it
 * can open and another node cannot. Values never leave the process. Agents do this at the same time without talking
 * to each other: who comes second finds a newer revision, and nothing left to do.
 */
import type { SecretBuckets, SecretEntry } from '../client/secret-buckets.ts';
import { isRecipient, sameRecipients, seal } from '../core/secret-seal.ts';
import type { NodeIdentities, ReadIdentities } from './node-identities.ts';
import { repeatedly } from './repeatedly.ts';
import { canOpen, openSecret } from './secrets.ts';

interface Dependencies {
  /** Resolves when NATS was reached for the first time. */
  readonly buckets: Promise<SecretBuckets>;
  readonly identities: ReadIdentities;
  readonly place: { readonly cluster: string; readonly node: string };
  readonly say?: (message: string) => void;
}

export interface SecretKeeper {
  /** Looks at once and every 5 s; ends with `signal`. */
  watch(signal: AbortSignal): Promise<void>;
  /** One look. */
  look(): Promise<void>;
}

const LOOK_INTERVAL_MS = 5_000;

export function createSecretKeeper({
  buckets,
  identities,
  place: { cluster, node },
  say = (message) => console.error(message),
}: Dependencies): SecretKeeper {
  /** What the last complete look has seen: while nothing of it changes, there is nothing to do. */
  let done: string | undefined;

  return { watch, look };

  async function watch(signal: AbortSignal): Promise<void> {
    let lastProblem: string | undefined;
    await repeatedly(LOOK_INTERVAL_MS, signal, async () => {
      try {
        await look();
        lastProblem = undefined;
      } catch (error) {
        const problem = error instanceof Error ? error.message : String(error);
        if (problem !== lastProblem) say(`Secrets are not passed on to new nodes at the moment: ${problem}`);
        lastProblem = problem;
      }
    });
  }

  async function look(): Promise<void> {
    const store = await buckets;
    const own = await identities();
    const [newest] = own.recipients;
    if (newest === undefined || !isRecipient(newest)) return;
    const seen = async (): Promise<string> => [await store.recipientsVersion(), ...own.recipients].join(' ');
    if (done === (await seen())) return;
    await store.publishRecipient(cluster, node, newest);
    const now = await seen();
    const recipients = await store.recipients();
    const old = own.recipients.slice(1).filter((recipient) => !recipients.includes(recipient));
    let sealed = 0;
    let oldInUse = false;
    for await (const entry of store.secrets()) {
      const isNew = await sealAgain(store, entry, own, recipients);
      if (isNew) sealed += 1;
      else oldInUse ||= old.some((recipient) => entry.secret.recipients.includes(recipient));
    }
    if (sealed > 0) say(`Sealed ${sealed} secrets to the keys that nodes have now.`);
    if (old.length > 0 && !oldInUse) {
      say('No secret is sealed to the older keys of this node: they can be removed from its key file.');
    }
    done = now;
  }
}

/** @returns true when the secret is sealed to all recipients, and was not before. */
async function sealAgain(
  store: SecretBuckets,
  { secret, revision }: SecretEntry,
  own: NodeIdentities,
  recipients: readonly string[],
): Promise<boolean> {
  if (sameRecipients(secret.recipients, recipients) || !canOpen(secret, own)) return false;
  const opened = await openSecret(secret, own).catch(() => undefined);
  // A damaged one stays as it is: the next run of its user says so.
  if (opened === undefined) return false;
  const sealed = await seal(JSON.stringify(opened), recipients);
  return (await store.replace({ secret: { ...secret, recipients, sealed }, revision })) !== undefined;
}
