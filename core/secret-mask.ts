/**
 * Finds secret values in bytes that programs print, in the forms in which they get there: as they are, each line of a
 * value on its own, as text inside JSON, URL-encoded, in base64 (both alphabets, also inside of a longer text, also
 * wrapped into lines). What does not get here is deliberate: a program that wants to leak a secret always finds a way.
 */
import { LONGEST_ESCAPE, readJson, readUrl } from './escapes.ts';
import { createSearch, folded, SHORTEST_NEEDLE, union } from './needle-search.ts';
import type { Span } from './needle-search.ts';

export interface SecretMask {
  /** No value, in whatever form, is longer than this many bytes: longer ones are found piece by piece. */
  readonly longestBytes: number;
  /** Where values stand: in order, and not touching each other. */
  find(bytes: Uint8Array): readonly Span[];
  /** Whether a value stands in the text, in whatever form. */
  isIn(text: string): boolean;
  /** The text with `***` for every value; for messages of errors. */
  maskText(text: string): string;
}

/**
 * Shorter values are not masked: they are words like `root` or `true`, and a log without them would be unreadable,
 * while its gaps would tell the value.
 */
const SHORTEST_VALUE = SHORTEST_NEEDLE;
/** A line of a longer value is no secret by itself: short ones are braces, keys and the like. */
const SHORTEST_LINE = 8;
/** Longer forms are cut into pieces, so that whoever reads a stream has to keep little of it back. */
const LONGEST_PIECE = 160;
/** Where base64 is wrapped: by PEM and openssl; by MIME, coreutils and Python. */
const BASE64_WIDTHS = [64, 76];

/** A value that is no text: it is seen in base64 only. */
export const binaryValue = (base64: string): string => `data:;base64,${base64}`;
const BINARY_VALUE = /^data:;base64,([A-Za-z\d+/]+=*)$/;

/** @param values texts, or what `binaryValue` makes of bytes */
export function createSecretMask(values: readonly string[]): SecretMask {
  const needles = new Set<string>();
  let longest = 0;
  for (const value of values) {
    for (const piece of formsOf(value)) {
      if (piece.length < SHORTEST_VALUE) continue;
      needles.add(piece);
      longest = Math.max(longest, piece.length);
    }
  }
  const search = createSearch(needles);
  const find = (bytes: Uint8Array): readonly Span[] => {
    if (needles.size === 0) return [];
    const buffer = asBuffer(bytes);
    const inside = [readJson(buffer), readUrl(buffer)].flatMap((read) =>
      read === undefined ? [] : [search(read.bytes).map((span) => read.placeOf(span))],
    );
    const plain = search(buffer);
    return inside.length === 0 ? plain : union(plain, ...inside);
  };
  return {
    longestBytes: longest * LONGEST_ESCAPE,
    find,
    isIn: (text) => find(Buffer.from(text)).length > 0,
    maskText(text) {
      const bytes = Buffer.from(text);
      return replaceSpans(bytes, find(bytes)).toString();
    },
  };
}

/** How many lines of its own a mask would have to find. */
export function countMaskedLines(values: readonly string[]): number {
  const texts = values.filter((value) => !BINARY_VALUE.test(value));
  return texts.reduce((sum, text) => sum + maskedLines(bytesAsText(text)).length, 0);
}

const STARS = Buffer.from('***');

/** @param isInside whether what is before these bytes has ended inside of a span: then its stars are there already. */
export function replaceSpans(bytes: Buffer, spans: readonly Span[], isInside = false): Buffer {
  if (spans.length === 0) return bytes;
  const parts: Buffer[] = [];
  let at = 0;
  for (const { start, end } of spans) {
    parts.push(bytes.subarray(at, start));
    if (start > 0 || !isInside) parts.push(STARS);
    at = end;
  }
  return Buffer.concat([...parts, bytes.subarray(at)]);
}

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** One character for each byte. */
const bytesAsText = (value: string): string => Buffer.from(value.toWellFormed()).toString('latin1');

/** All forms of a value, folded, with one character for each byte; long ones in pieces. */
function* formsOf(value: string): Generator<string> {
  const [, binary] = BINARY_VALUE.exec(value) ?? [];
  if (binary !== undefined) {
    yield* pieces(binary, 0, binary.length);
    yield* wrapped(binary, 0, binary.length);
    return;
  }
  const text = bytesAsText(value);
  // In base64 it looks different for each of the three places where it may begin in a longer text.
  const encoded = [0, 1, 2].map((before) =>
    Buffer.from('\0'.repeat(before) + text, 'latin1').toString('base64'),
  );
  const plain = folded(text);
  for (const { start, end } of maskedLines(text)) {
    yield* pieces(plain, start, end);
    for (const [before, base64] of encoded.entries()) {
      yield* pieces(base64, ...digits(before + start, before + end));
    }
  }
  const { start, end } = trimmed(text, { start: 0, end: text.length });
  for (const from of new Set([0, start])) {
    const before = (3 - (from % 3)) % 3;
    for (const to of new Set([end, text.length])) {
      yield* wrapped(encoded[before] ?? '', ...digits(before + from, before + to));
    }
  }
}

/** The digits of base64 that the bytes from `start` to `end` decide alone. */
const digits = (start: number, end: number): [from: number, to: number] => [
  Math.ceil((start * 4) / 3),
  Math.floor((end * 4) / 3),
];

/** The lines of a value that was encoded by itself and takes more than one. */
function* wrapped(base64: string, from: number, to: number): Generator<string> {
  for (const width of BASE64_WIDTHS) {
    if (to - from <= width) continue;
    for (let at = from; at + SHORTEST_LINE <= to; at += width) {
      yield base64.slice(at, Math.min(at + width, to));
    }
  }
}

/** Pieces of about the same length, none of them longer than is allowed. */
function* pieces(text: string, from: number, to: number): Generator<string> {
  const length = Math.ceil((to - from) / Math.ceil((to - from) / LONGEST_PIECE));
  for (let at = from; at < to; at += length) yield text.slice(at, Math.min(at + length, to));
}

/** Without white space around them. Values of several lines come with real newlines, or with those of JSON. */
function maskedLines(text: string): Span[] {
  const lines: Span[] = [];
  let start = 0;
  for (const { 0: newline, index } of text.matchAll(/\r\n|\n|\r|\\r\\n|\\n/g)) {
    lines.push(trimmed(text, { start, end: index }));
    start = index + newline.length;
  }
  lines.push(trimmed(text, { start, end: text.length }));
  const filled = lines.filter(({ start, end }) => end > start);
  const shortest = filled.length > 1 ? SHORTEST_LINE : SHORTEST_VALUE;
  return filled.filter(({ start, end }) => end - start >= shortest);
}

function trimmed(text: string, { start, end }: Span): Span {
  while (start < end && isSpace(text, start)) start += 1;
  while (start < end && isSpace(text, end - 1)) end -= 1;
  return { start, end };
}

/** Of ASCII: other spaces are several bytes. */
const isSpace = (text: string, at: number): boolean => text.charCodeAt(at) <= 32;
