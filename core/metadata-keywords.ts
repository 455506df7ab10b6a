/** The `metadata` of a run as texts to search by: `key=value`. */
import type { JsonValue } from './run-spec.ts';

/** What fits into the search attribute, in the order of the file. Texts stand as they are, everything else as JSON. */
export function metadataKeywords(metadata: Readonly<Record<string, JsonValue>>): string[] {
  const keywords: string[] = [];
  let bytes = 0;
  for (const [key, value] of Object.entries(metadata)) {
    const text = metadataKeyword(`${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
    bytes += utf8Bytes(JSON.stringify(text)) + 1;
    if (bytes > MAX_BYTES) break;
    keywords.push(text);
  }
  return keywords;
}

/** Made into what can be searched for: filters are made so, too, and find it. */
export function metadataKeyword(text: string): string {
  const short = Array.from(text).slice(0, MAX_CHARACTERS).join('');
  // Temporal on SQLite takes no query with these.
  return short.replaceAll('"', "'").replaceAll('\\', '/');
}

/** The inverse of `metadataKeywords`, with what of the values has fitted. */
export function metadataOfKeywords(keywords: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    keywords.map((text) => {
      const end = text.indexOf('=');
      return end === -1 ? [text, ''] : [text.slice(0, end), text.slice(end + 1)];
    }),
  );
}

/** Some databases of Temporal take no longer ones. */
const MAX_CHARACTERS = 255;
/** Temporal refuses a search attribute of more than 2 KB, and a workflow whose attribute is refused stands still. */
const MAX_BYTES = 1_900;

function utf8Bytes(text: string): number {
  return Array.from(text).reduce((sum, character) => sum + bytesOf(character.codePointAt(0) ?? 0), 0);
}

function bytesOf(codePoint: number): number {
  if (codePoint < 0x80) return 1;
  if (codePoint < 0x800) return 2;
  return codePoint < 0x10000 ? 3 : 4;
}
