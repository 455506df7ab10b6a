/** Finds many texts in bytes at once. */

/** A place in bytes: from `start` up to `end`. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** Of each text, this many bytes are looked at before it is compared whole; none may be shorter. */
export const SHORTEST_NEEDLE = 6;
const HEAD = SHORTEST_NEEDLE;
const BLOCK = 3;

/**
 * `-` counts as `+` and `_` as `/`: so both alphabets of base64 are one. What is masked beside that, since it is a secret
 * but for these, is no loss.
 */
export const folded = (text: string): string => text.replaceAll('-', '+').replaceAll('_', '/');
/** For each byte of a needle the bytes that count as it. */
const TWINS = Array.from({ length: 256 }, (_, byte) => {
  const same = { '+': '+-', '/': '/_' }[String.fromCharCode(byte)];
  return same === undefined ? [byte] : Array.from(same, (letter) => letter.charCodeAt(0));
});

/**
 * Wu and Manber's search: the last block of a window tells how far the window may move on without missing the head of
 * any needle. Unlike one regular expression of all needles it takes the same time for many of them (about 0.4 GB/s,
 * where the expression has 0.06), and reads bytes without making text of them.
 * @param needles folded, one character for each byte
 * @returns all bytes that belong to any of them, as spans in order that do not touch each other
 */
export function createSearch(needles: ReadonlySet<string>): (text: Buffer) => Span[] {
  const bits = needles.size > MANY_NEEDLES ? 20 : 16;
  const shifts = new Uint8Array(1 << bits).fill(HEAD - BLOCK + 1);
  for (const needle of needles) {
    for (let at = 0; at + BLOCK <= HEAD; at += 1) {
      markBlock(shifts, bits, needle, at);
    }
  }
  const longestAt = createLookup(needles);
  return (text) => {
    const spans: Span[] = [];
    const last = text.length - BLOCK;
    for (let at = HEAD - BLOCK; at <= last;) {
      const shift = shifts[hashOf(text[at] ?? 0, text[at + 1] ?? 0, text[at + 2] ?? 0, bits)] ?? 1;
      if (shift === 0) {
        const start = at - (HEAD - BLOCK);
        const length = longestAt(text, start);
        // Inside of what was found another may begin, and reach further.
        if (length > 0) join(spans, { start, end: start + length });
      }
      at += Math.max(shift, 1);
    }
    return spans;
  };
}

/** With the hashes of so many blocks, a small table would let the window move by one byte only. */
const MANY_NEEDLES = 4_096;

/** After a block of a needle, the window may move on by no more than what is between it and the end of the head. */
function markBlock(shifts: Uint8Array, bits: number, needle: string, at: number): void {
  const first = needle.charCodeAt(at);
  const second = needle.charCodeAt(at + 1);
  const third = needle.charCodeAt(at + 2);
  for (const a of twins(first)) {
    for (const b of twins(second)) {
      for (const c of twins(third)) {
        const hash = hashOf(a, b, c, bits);
        shifts[hash] = Math.min(shifts[hash] ?? 0, HEAD - BLOCK - at);
      }
    }
  }
}

const twins = (byte: number): readonly number[] => TWINS[byte] ?? [];

/** Knuth's multiplicative hash. */
function hashOf(first: number, second: number, third: number, bits: number): number {
  return Math.imul((first << 16) | (second << 8) | third, 0x9e3779b1) >>> (32 - bits);
}

/** Spans come in the order of their starts. */
function join(spans: Span[], next: Span): void {
  const last = spans.at(-1);
  if (last === undefined || last.end < next.start) spans.push(next);
  else spans[spans.length - 1] = { start: last.start, end: Math.max(last.end, next.end) };
}

/**
 * The length of the longest needle that stands at a place; 0 where none does. The lines of a file often begin alike,
 * thousands of them: those that share a head are looked up, once for each of their lengths, and never gone through one
 * by one.
 */
function createLookup(needles: ReadonlySet<string>): (text: Buffer, start: number) => number {
  // Most heads have one length: without a list for each, hundreds of thousands of them fit into little memory.
  const lengthsByHead = new Map<string, number | number[]>();
  for (const needle of needles) {
    const head = needle.slice(0, HEAD);
    const known = lengthsByHead.get(head);
    if (known === undefined) lengthsByHead.set(head, needle.length);
    else if (typeof known === 'number') {
      if (known !== needle.length) lengthsByHead.set(head, [known, needle.length]);
    } else if (!known.includes(needle.length)) known.push(needle.length);
  }
  for (const lengths of lengthsByHead.values()) {
    if (typeof lengths !== 'number') lengths.sort((a, b) => b - a);
  }
  const read = (text: Buffer, start: number, length: number): string =>
    folded(text.toString('latin1', start, start + length));
  return (text, start) => {
    const lengths = lengthsByHead.get(read(text, start, HEAD));
    if (lengths === undefined) return 0;
    if (typeof lengths === 'number') return needles.has(read(text, start, lengths)) ? lengths : 0;
    const candidate = read(text, start, lengths[0] ?? 0);
    const stands = (length: number): boolean =>
      length <= candidate.length && needles.has(candidate.slice(0, length));
    return lengths.find(stands) ?? 0;
  };
}

/** Spans of several searches, each in order, as those of one. */
export function union(...all: readonly (readonly Span[])[]): Span[] {
  const spans: Span[] = [];
  for (const span of all.flat().sort((a, b) => a.start - b.start)) join(spans, span);
  return spans;
}
