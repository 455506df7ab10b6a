/** Text of others on its way to a terminal, which obeys the control characters in it: they are shown instead. */

/** Line ends and tabs stay. No log goes through here: it is printed byte for byte. */
export function printable(text: string): string {
  return text.replaceAll(/[^\P{Cc}\n\r\t\u0085]/gu, shown);
}

/** On one line: what would break it, or turn its direction, is shown as well. */
export function printableLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, shown);
}

/** As in JSON. */
function shown(character: string): string {
  const short = JSON.stringify(character).slice(1, -1);
  return short === character ? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}` : short;
}
