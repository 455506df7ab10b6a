/**
 * Finds secret values in bytes that programs print, in the forms in which they get there: as they are, each line of a
 * value on its own, as text inside JSON, URL-encoded, in base64 (both alphabets, also inside of a longer text, also
 * wrapped into lines). What does not get here is deliberate: a program that wants to leak a secret always finds a way.
 */
export interface SecretMask {
  /** No value, in whatever form, is longer than this many bytes: longer ones are found piece by piece. */
  readonly longestBytes: number;
  /** Where values stand: in order, not overlapping; of two that begin at one place, the longer. */
  find(bytes: Uint8Array): readonly Span[];
  /** The text with `***` for every value; for messages of errors. */
  maskText(text: string): string;
}

export interface Span {
  readonly start: number;
  readonly end: number;
}

/**
 * Shorter values are not masked: they are words like `root` or `true`, and a log without them would be unreadable,
 * while its gaps would tell the value.
 */
const SHORTEST_VALUE = 6;
/** A line of a longer value is no secret by itself: short ones are braces, keys and the like. */
const SHORTEST_LINE = 8;
/** Longer forms are cut into pieces, so that whoever reads a stream has to keep little of it back. */
const LONGEST_PIECE = 512;
/** Where base64 is wrapped: by PEM and openssl; by MIME, coreutils and Python. */
const BASE64_WIDTHS = [64, 76];

export function createSecretMask(values: readonly string[]): SecretMask {
  const needles = new Set(values.flatMap(formsOf).flatMap(pieces));
  const search = createSearch([...needles].filter(({ length }) => length >= SHORTEST_VALUE));
  return {
    longestBytes: [...needles].reduce((longest, { length }) => Math.max(longest, length), 0),
    find: search,
    maskText(text) {
      const bytes = Buffer.from(text);
      return replaceSpans(bytes, search(bytes)).toString();
    },
  };
}

const STARS = Buffer.from('***');

/** Pieces of one value that follow each other become one `***`, so that they do not tell its length. */
export function replaceSpans(bytes: Buffer, spans: readonly Span[]): Buffer {
  if (spans.length === 0) return bytes;
  const parts: Buffer[] = [];
  let at = 0;
  for (const { start, end } of spans) {
    if (start > at) parts.push(bytes.subarray(at, start));
    if (start > at || at === 0) parts.push(STARS);
    at = end;
  }
  return Buffer.concat([...parts, bytes.subarray(at)]);
}

/** All forms of a value as bytes, one character for each. */
function formsOf(value: string): string[] {
  // Values of several lines come with real newlines, or with those of JSON.
  const lines = value
    .toWellFormed()
    .split(/\r\n|\n|\r|\\r\\n|\\n/)
    .map((line) => line.trim())
    .filter(Boolean);
  const shortest = lines.length > 1 ? SHORTEST_LINE : SHORTEST_VALUE;
  return lines
    .filter((line) => Buffer.byteLength(line) >= shortest)
    .flatMap((line) => [...textForms(line).map(asBytes), ...base64Forms(Buffer.from(line))])
    .concat(
      wrappedBase64Forms(value),
      wrappedBase64Forms(value.trim()),
      wrappedBase64Forms(`${value.trim()}\n`),
    );
}

function asBytes(text: string): string {
  return Buffer.from(text).toString('latin1');
}

function textForms(text: string): string[] {
  const json = JSON.stringify(text).slice(1, -1);
  const asciiJson = json.replaceAll(/[^\x20-\x7e]/g, (unit) => {
    return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
  const url = encodeURIComponent(text);
  const percent = (mark: string): string => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`;
  return [text, json, asciiJson, json.replaceAll('/', String.raw`\/`)].concat(
    // As in JavaScript, in Python, in forms: they differ in what they let stand.
    [url, url.replaceAll(/[!'()*]/g, percent), url.replaceAll(/[!'()~]/g, percent)]
      .flatMap((form) => [form, form.replaceAll('%2F', '/')])
      .flatMap((form) => [form, form.replaceAll('%20', '+')])
      .flatMap((form) => [form, form.replaceAll(/%../g, (code) => code.toLowerCase())]),
  );
}

/** The digits that the bytes alone decide, for each of the three places where they may begin in a longer text. */
function base64Forms(bytes: Buffer): string[] {
  return [0, 1, 2].flatMap((before) => {
    const text = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64');
    const inner = text.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6));
    return [inner, inner.replaceAll('+', '-').replaceAll('/', '_')];
  });
}

/** The lines of a value that was encoded by itself and takes more than one. */
function wrappedBase64Forms(value: string): string[] {
  const text = Buffer.from(value).toString('base64');
  return BASE64_WIDTHS.flatMap((width) => (text.length > width ? evenPieces(text, width) : [])).filter(
    (line) => line.length >= SHORTEST_LINE,
  );
}

function pieces(form: string): string[] {
  return evenPieces(form, Math.ceil(form.length / Math.ceil(form.length / LONGEST_PIECE)));
}

function evenPieces(text: string, length: number): string[] {
  return Array.from({ length: Math.ceil(text.length / length) }, (_, index) =>
    text.slice(index * length, (index + 1) * length),
  );
}

/** What is looked at of each needle before it is compared whole. */
const HEAD = SHORTEST_VALUE;
const BLOCK = 3;
const HASH_BITS = 16;

/**
 * Wu and Manber's search: the last block of a window tells how far the window may move on without missing the head of
 * any needle. Unlike one regular expression of all needles it takes the same time for many of them (about 0.4 GB/s,
 * where the expression has 0.06), and reads bytes without making text of them.
 */
function createSearch(needles: readonly string[]): (bytes: Uint8Array) => Span[] {
  const shifts = new Uint8Array(1 << HASH_BITS).fill(HEAD - BLOCK + 1);
  for (const needle of needles) {
    const bytes = Buffer.from(needle.slice(0, HEAD), 'latin1');
    for (let at = 0; at + BLOCK <= HEAD; at += 1) {
      const hash = hashOf(bytes, at);
      shifts[hash] = Math.min(shifts[hash] ?? 0, HEAD - BLOCK - at);
    }
  }
  const longestAt = createLookup(needles);
  return (bytes) => {
    const spans: Span[] = [];
    if (needles.length === 0) return spans;
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const last = text.length - BLOCK;
    for (let at = HEAD - BLOCK; at <= last;) {
      const shift = shifts[hashOf(text, at)] ?? 1;
      if (shift > 0) {
        at += shift;
        continue;
      }
      const start = at - (HEAD - BLOCK);
      const found = longestAt(text, start);
      if (found === undefined) at += 1;
      else {
        spans.push({ start, end: start + found.length });
        at += found.length;
      }
    }
    return spans;
  };
}

/**
 * Finds the longest needle that stands at a place. The lines of a file often begin alike, thousands of them: those that
 * share a head are looked up, once for each of their lengths, and never gone through one by one.
 */
function createLookup(needles: readonly string[]): (text: Buffer, start: number) => string | undefined {
  const known = new Set(needles);
  const lengthsByHead = new Map<string, readonly number[]>();
  for (const [head, sharing] of Map.groupBy(needles, (needle) => needle.slice(0, HEAD))) {
    const lengths = new Set(sharing.map(({ length }) => length));
    const longestFirst = [...lengths].sort((a, b) => b - a);
    lengthsByHead.set(head, longestFirst);
  }
  return (text, start) => {
    for (const length of lengthsByHead.get(text.toString('latin1', start, start + HEAD)) ?? []) {
      const candidate = text.toString('latin1', start, start + length);
      if (known.has(candidate)) return candidate;
    }
    return undefined;
  };
}

function hashOf(bytes: Uint8Array, at: number): number {
  const block = (bytes[at] ?? 0) ^ ((bytes[at + 1] ?? 0) << 5) ^ ((bytes[at + 2] ?? 0) << 10);
  return block & ((1 << HASH_BITS) - 1);
}
