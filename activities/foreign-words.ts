/** What a server or a library says of a failure, on its way into a history, a log and a terminal. */
import type { SecretMask } from '../core/secret-mask.ts';

const MAX_LENGTH = 500;

/** Without secrets and control characters. It is cut last: what is left of a cut secret is found no more. */
export function foreignWords(words: string, mask: SecretMask): string {
  return mask
    .maskText(words)
    .replaceAll(/\p{Cc}+/gu, ' ')
    .trim()
    .slice(0, MAX_LENGTH)
    .toWellFormed();
}
