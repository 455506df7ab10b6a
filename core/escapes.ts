/** Reads bytes as what their escapes stand for, and knows where it was read. */
import type { Span } from './needle-search.ts';

export interface Unescaped {
  readonly bytes: Buffer;
  /** Where a part of `bytes` stands in what was read. */
  placeOf(span: Span): Span;
}

/** No escape is longer than this many times the bytes that it stands for. */
export const LONGEST_ESCAPE = 6;

/** As a text inside of JSON: `\n`, `\"`, `\/`, `\u00e9`. Undefined where there is no escape. */
export function readJson(bytes: Buffer): Unescaped | undefined {
  // Most lines have none: they are not made a text of.
  if (!bytes.includes(BACKSLASH)) return undefined;
  return unescaped(bytes, JSON_ESCAPES, (escape) =>
    Buffer.from((JSON.parse(`"${escape}"`) as string).toWellFormed()),
  );
}

/** As a part of a URL or a form: `%2F`, and `+` for a space. Undefined where there is no escape. */
export function readUrl(bytes: Buffer): Unescaped | undefined {
  if (!hasPercent(bytes) && !bytes.includes(PLUS)) return undefined;
  return unescaped(bytes, URL_ESCAPES, (escape) =>
    escape === '+' ? SPACE : Buffer.from(escape.slice(1), 'hex'),
  );
}

const BACKSLASH = 92;
const PERCENT = 37;
const PLUS = 43;
const JSON_ESCAPES = /\\u[\da-fA-F]{4}(?:(?<=\\u[dD][89abAB]..)\\u[dD][c-fC-F][\da-fA-F]{2})?|\\["\\/bfnrt]/g;
const URL_ESCAPES = /%[\da-fA-F]{2}|\+/g;
const SPACE = Buffer.from(' ');

/** `%` alone is common: programs tell their progress with it. */
function hasPercent(bytes: Buffer): boolean {
  for (let at = bytes.indexOf(PERCENT); at >= 0; at = bytes.indexOf(PERCENT, at + 1)) {
    if (isHexadecimal(bytes[at + 1]) && isHexadecimal(bytes[at + 2])) return true;
  }
  return false;
}

const isHexadecimal = (byte = 0): boolean =>
  (byte >= 48 && byte <= 57) || (byte >= 65 && byte <= 70) || (byte >= 97 && byte <= 102);

function unescaped(bytes: Buffer, escapes: RegExp, read: (escape: string) => Buffer): Unescaped | undefined {
  const text = bytes.toString('latin1');
  const parts: Buffer[] = [];
  /** For each byte that was read, and the end, where it stands. */
  const places = new Uint32Array(bytes.length + 1);
  let length = 0;
  let end = 0;
  const take = (part: Buffer, place: (at: number) => number): void => {
    for (let at = 0; at < part.length; at += 1) places[length + at] = place(at);
    parts.push(part);
    length += part.length;
  };
  for (const { 0: escape, index } of text.matchAll(escapes)) {
    const start = end;
    take(bytes.subarray(start, index), (at) => start + at);
    take(read(escape), () => index);
    end = index + escape.length;
  }
  if (parts.length === 0) return undefined;
  const rest = end;
  take(bytes.subarray(rest), (at) => rest + at);
  places[length] = bytes.length;
  return {
    bytes: Buffer.concat(parts),
    // The last byte that was read may be one of several of an escape: its end is the beginning of the next.
    placeOf: ({ start, end: until }) => ({ start: places[start] ?? 0, end: places[until] ?? bytes.length }),
  };
}
