/**
 * How much all secrets of a user may be together: their runs have all of them, in the memory of a node and of its agent,
 * which looks for every line of them in every line of a log.
 */
import { secretVariables } from './secret-delivery.ts';
import { countMaskedLines } from './secret-mask.ts';
import { secretTexts } from './secret-texts.ts';
import type { Secret, SecretContent, SecretSize } from './secret.ts';

const MAX_SECRETS = 100;
const MAX_BYTES = 2 * 1024 * 1024;
/** Linux takes a part of the stack's limit for the environment and the arguments of a program, by default 2 MiB. */
const MAX_VARIABLE_BYTES = 1024 * 1024;
const MAX_MASKED_LINES = 20_000;

export function secretSize({ name, content }: Secret): SecretSize {
  const variables = Object.entries(secretVariables(name, content));
  return {
    bytes: secretBytes(content),
    variableBytes: variables.reduce((sum, [key, value]) => sum + bytesOf(`${key}=${value}`), 0),
    maskedLines: countMaskedLines(secretTexts({ name, content })),
  };
}

/** All bytes of a value. */
export function secretBytes(content: SecretContent): number {
  return Object.entries(content).reduce((sum, [field, text]) => {
    const bytes = bytesOf(text);
    return sum + (field === 'fileBase64' ? Math.floor((bytes * 3) / 4) : bytes);
  }, 0);
}

/** What is too much of all secrets of a user, as the end of a sentence about them; undefined when nothing is. */
export function sizeFault(sizes: readonly SecretSize[]): string | undefined {
  const sum = (of: keyof SecretSize): number => sizes.reduce((total, size) => total + size[of], 0);
  const limits = [
    [sizes.length, MAX_SECRETS, 'in number'],
    [sum('bytes'), MAX_BYTES, 'bytes'],
    [sum('variableBytes'), MAX_VARIABLE_BYTES, 'bytes of variables'],
    [sum('maskedLines'), MAX_MASKED_LINES, 'lines to mask in logs (a compressed file has none)'],
  ] as const;
  const exceeded = limits.find(([count, limit]) => count > limit);
  return exceeded && `they are ${exceeded[0]} ${exceeded[2]}; ${exceeded[1]} are allowed`;
}

const bytesOf = (text: string): number => new TextEncoder().encode(text).length;
