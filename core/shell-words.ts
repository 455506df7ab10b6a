/** Words for bash: quoted, and split as a shell splits them. */

/** A word that bash reads as exactly this text. */
export function quoteForShell(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

const WORD_PART = /\s+|'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([^\s'"\\]+)|(.)/gsy;
const VARIABLE = /\$(?:(\w+)|\{(\w+)\})/g;

/**
 * Splits as a shell does: quotes and backslashes count, variables are expanded later by bash; nothing else is special,
 * so `>=` in a version and `[extra]` are plain text.
 * @returns words that are quoted already.
 * @throws RangeError for a quote without its partner.
 */
export function splitShellWords(text: string): string[] {
  const words: string[] = [];
  let word = '';
  for (const [part, single, double, escaped, plain, stray] of text.matchAll(WORD_PART)) {
    if (stray !== undefined) throw new RangeError(`${stray} has no partner in: ${text}`);
    if (single !== undefined) word += quoteForShell(single);
    else if (double !== undefined) word += doubleQuoted(double);
    else if (escaped !== undefined) word += quoteForShell(escaped);
    else if (plain !== undefined) word += expandingWord(plain);
    else if (part !== '' && word !== '') {
      words.push(word);
      word = '';
    }
  }
  if (word !== '') words.push(word);
  return words;
}

/**
 * An entry of `packages`: a requirement is one word, whatever is in it (`a @ https://…`, `a>=1; python_version < "3.12"`);
 * options are several.
 * @throws RangeError for options with a quote without its partner.
 */
export function packageWords(text: string): string[] {
  return text.startsWith('-') ? splitShellWords(text) : [expandingWord(text)];
}

/** Between double quotes, a backslash takes the meaning of few characters only. */
function doubleQuoted(text: string): string {
  const parts = text.split(/(\\["\\$`])/).filter((part) => part !== '');
  if (parts.length === 0) return "''";
  return parts
    .map((part) => (/^\\["\\$`]$/.test(part) ? quoteForShell(part.slice(1)) : expandingWord(part)))
    .join('');
}

/** A word that is this text, with the values of `$NAME` and `${NAME}` in it. */
function expandingWord(text: string): string {
  let result = '';
  let end = 0;
  for (const match of text.matchAll(VARIABLE)) {
    const before = text.slice(end, match.index);
    result += `${before && quoteForShell(before)}"\${${match[1] ?? match[2]}}"`;
    end = match.index + match[0].length;
  }
  const after = text.slice(end);
  return result + (after && quoteForShell(after));
}
