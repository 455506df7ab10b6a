/**
 * Keeps every secret sealed to the keys that nodes have now: publishes this node's public key, and seals again what it
 * can open and another node cannot. Values never leave the process. Agents do this at the same time without talking
 * to each other: who comes second finds a newer revision, and nothing left to do.
 */
import { SecretStoreSilent } from '../client/errors.ts';
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
  /** Whether the cluster has this node; asked when something else than its key was published for it. */
  readonly isInCluster: () => Promise<boolean>;
  /** Seals to the newest key what else this node has sealed to its own keys. */
  readonly sealOwn: () => Promise<void>;
  readonly say?: (message: string) => void;
}

interface Done {
  /** Those of this node, and the version of all. */
  readonly keys: string;
  readonly recipients: readonly string[];
  readonly upTo: number;
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
  isInCluster,
  sealOwn,
  say = (message) => console.error(message),
}: Dependencies): SecretKeeper {
  let isPrepared = false;
  let isUnwelcome = false;
  /** Up to which revision all secrets have been looked at, for these keys: what is older needs no second look. */
  let done: Done = { keys: '', recipients: [], upTo: 0 };

  return { watch, look };

  async function watch(signal: AbortSignal): Promise<void> {
    let lastProblem: string | undefined;
    await repeatedly(LOOK_INTERVAL_MS, signal, async () => {
      try {
        await look();
        lastProblem = undefined;
      } catch (error) {
        const problem = said(error);
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
    if (!isPrepared) await store.prepare();
    isPrepared = true;
    await publish(store, newest);
    await passOn(store, own);
  }

  /**
   * An agent of a node that was deleted may run on: it must not bring its key back. When it is started again, the node
   * joins again, and its key with it. A node that never had a key may be about to join.
   */
  async function publish(store: SecretBuckets, recipient: string): Promise<void> {
    const known = await store.published(cluster, node);
    if (known.recipient === recipient) return;
    const isWelcome = known.revision === 0 || (await isInCluster().catch(() => false));
    if (!isWelcome && !isUnwelcome) {
      say(`No secrets are sealed to the key of this node: ${cluster} does not have ${node} (any more).`);
    }
    isUnwelcome = !isWelcome;
    if (!isWelcome) return;
    // The data of NATS may be new.
    if (known.revision === 0) await store.prepare();
    await store.publish(cluster, node, recipient, known.revision);
  }

  async function passOn(store: SecretBuckets, own: NodeIdentities): Promise<void> {
    const keys = [await store.recipientsVersion(), ...own.recipients].join(' ');
    const isComplete = keys !== done.keys;
    const recipients = isComplete ? await store.recipients() : done.recipients;
    const old = own.recipients.slice(1).filter((recipient) => !recipients.includes(recipient));
    let upTo = isComplete ? 0 : done.upTo;
    let sealed = 0;
    let oldInUse = false;
    for await (const entry of store.entries({ after: upTo })) {
      upTo = entry.revision;
      const outcome = await sealAgain(store, entry, own, recipients).catch((error: unknown) => {
        if (error instanceof SecretStoreSilent) throw error;
        // It would fail again: as long as the keys are the same, the others matter more.
        say(`Secret ${entry.key} cannot be sealed to the keys that nodes have now: ${said(error)}`);
        return 'kept';
      });
      if (outcome === 'sealed') sealed += 1;
      // What another agent has sealed meanwhile comes again, as it is now.
      if (outcome === 'kept') {
        oldInUse ||= old.some((recipient) => entry.secret?.recipients.includes(recipient));
      }
    }
    if (sealed > 0) say(`Sealed ${sealed} secrets to the keys that nodes have now.`);
    if (isComplete && own.recipients.length > 1) await sealOwn();
    if (isComplete && old.length > 0 && !oldInUse) {
      say('No secret is sealed to the older keys of this node: they can be removed from its key file.');
    }
    done = { keys, recipients, upTo };
  }
}

const said = (error: unknown): string =>
  error instanceof Error && 'why' in error ? `${error.message} (${String(error.why)})` : String(error);

/** Seals a secret to all recipients, where this node can, and it is not. */
async function sealAgain(
  store: SecretBuckets,
  { secret, revision }: SecretEntry,
  own: NodeIdentities,
  recipients: readonly string[],
): Promise<'sealed' | 'overtaken' | 'kept'> {
  if (secret === undefined || sameRecipients(secret.recipients, recipients) || !canOpen(secret, own)) {
    return 'kept';
  }
  const opened = await openSecret(secret, own).catch(() => undefined);
  // A damaged one stays as it is: the next run of its user says so.
  if (opened === undefined) return 'kept';
  const sealed = await seal(JSON.stringify(opened), recipients);
  const replaced = await store.replace({ ...secret, recipients, sealed }, revision);
  return replaced === undefined ? 'overtaken' : 'sealed';
}
