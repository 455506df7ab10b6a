/** The private keys of this node: a file of age identities, newest first, read again whenever it is needed. */
import { readFile, stat } from 'node:fs/promises';
import { parseIdentities, recipientOf } from '../core/secret-seal.ts';

export interface NodeIdentities {
  /** Private keys; none where the node has no key file. */
  readonly identities: readonly string[];
  /** Their public keys, in the same order. */
  readonly recipients: readonly string[];
}

export type ReadIdentities = () => Promise<NodeIdentities>;

/**
 * A key that was put on top of the file is seen without a restart. A file that is missing or wrong is said once for
 * each way in which it is.
 */
export function createIdentityReader(
  file: string | undefined,
  warn: (message: string) => void = (message) => console.error(message),
): ReadIdentities {
  let lastText: string | undefined;
  let known: NodeIdentities = { identities: [], recipients: [] };
  let lastWarning: string | undefined;
  const warnOnce = (message: string | undefined): void => {
    if (message !== undefined && message !== lastWarning) warn(message);
    lastWarning = message;
  };
  return async () => {
    if (file === undefined) {
      warnOnce(
        'This node has no key, so runs of users with secrets fail on it: make one with ' +
          '`mcli create node-key FILE`, and name it in MCLI_NODE_KEY_FILE.',
      );
      return known;
    }
    try {
      const text = await readFile(file, 'utf8');
      if (text !== lastText) {
        const identities = parseIdentities(text);
        known = { identities, recipients: await Promise.all(identities.map(recipientOf)) };
        lastText = text;
      }
      const { mode } = await stat(file);
      warnOnce(
        (mode & 0o007) === 0
          ? undefined
          : `Every user of this machine can read the private keys in ${file}: chmod 600 ${file}`,
      );
    } catch (error) {
      warnOnce(
        `The keys in ${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
    return known;
  };
}
