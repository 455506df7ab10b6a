/**
 * Sealing and opening with age (X25519): the one module that imports it. Sealing takes public keys only; opening takes
 * the identities of a node, which never leave it.
 */
import { Decrypter, Encrypter, generateX25519Identity, identityToRecipient } from 'age-encryption';

/** @param recipients public keys, `age1…`; each of their owners can open it. */
export async function seal(text: string, recipients: readonly string[]): Promise<string> {
  const encrypter = new Encrypter();
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  return Buffer.from(await encrypter.encrypt(text)).toString('base64');
}

/** @throws Error when none of the identities is for it, or it is damaged. The message holds nothing of the content. */
export async function unseal(sealed: string, identities: readonly string[]): Promise<string> {
  const decrypter = new Decrypter();
  for (const identity of identities) decrypter.addIdentity(identity);
  return await decrypter.decrypt(Buffer.from(sealed, 'base64'), 'text');
}

/** A new identity file: `AGE-SECRET-KEY-1…` with its public key in a comment, as `age-keygen` writes it. */
export async function newIdentityText(createdAt: Date): Promise<{ text: string; recipient: string }> {
  const identity = await generateX25519Identity();
  const recipient = await identityToRecipient(identity);
  const text = `# created: ${createdAt.toISOString()}\n# public key: ${recipient}\n${identity}\n`;
  return { text, recipient };
}

/** The identities of a file, in its order. @throws Error naming the line that is none. */
export function parseIdentities(text: string): string[] {
  return text.split('\n').flatMap((line, index) => {
    const word = line.trim();
    if (word === '' || word.startsWith('#')) return [];
    // The line itself may be a key with a typing error: it is not shown.
    if (!/^AGE-SECRET-KEY-1[A-Z0-9]{58}$/.test(word))
      throw new Error(`line ${index + 1} is not an age identity`);
    return [word];
  });
}

/** The public key of an identity. */
export async function recipientOf(identity: string): Promise<string> {
  return await identityToRecipient(identity);
}

/** X25519 keys only: others cannot be mixed with them. */
export const isRecipient = (text: string): boolean => /^age1[a-z0-9]{58}$/.test(text);

/** The same set of keys in whatever order. */
export function sameRecipients(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((recipient) => b.includes(recipient));
}
