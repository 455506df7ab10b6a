/** Numbers and lists as people write them, for reasons and explanations. */

export function count(n: number, word: string): string {
  return `${n} ${word}${n === 1 ? '' : 's'}`;
}

/** "40 min", "3 h", "2 days": one unit, as precise as a forecast deserves. */
export function duration(ms: number): string {
  const minutes = ms / 60_000;
  if (minutes < 1) return 'a minute';
  if (minutes < 100) return `${Math.round(minutes)} min`;
  const hours = minutes / 60;
  if (hours < 48) return `${Math.round(hours)} h`;
  return `${Math.round(hours / 24)} days`;
}

/** "512 MB", "11.4 GB": counted in 1024s, as the settings of a node are. */
export function size(bytes: number): string {
  const megabytes = bytes / 1_048_576;
  return megabytes < 1024 ? `${Math.round(megabytes)} MB` : `${Number((megabytes / 1024).toFixed(1))} GB`;
}

/** At most four names in alphabetical order, then how many more. */
export function names(list: readonly string[]): string {
  const shown = list.toSorted().slice(0, SHOWN).join(', ');
  return list.length > SHOWN ? `${shown} and ${list.length - SHOWN} more` : shown;
}

const SHOWN = 4;
