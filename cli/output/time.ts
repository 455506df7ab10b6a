/** Times and durations as mcli prints them. */

/** `2022-06-12 06:53 PM` in the local zone; `-` when there is none. */
export function displayTime(time: Date | undefined): string {
  if (!time) return '-';
  const hours = time.getHours();
  const date = [time.getFullYear(), twoDigits(time.getMonth() + 1), twoDigits(time.getDate())].join('-');
  const half = hours < 12 ? 'AM' : 'PM';
  return `${date} ${twoDigits(hours % 12 || 12)}:${twoDigits(time.getMinutes())} ${half}`;
}

/** Of epoch milliseconds, for JSON. */
export function iso(time: number | null): string | null {
  return time === null ? null : new Date(time).toISOString();
}

/** `45s`, `12min`, `5hr`, `3d`: rounded down. */
export function displayDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)}hr`;
  return `${Math.floor(seconds / 86_400)}d`;
}

/** `1.2 GB`, in powers of ten as Docker counts. */
export function displayBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1_000 && unit < units.length - 1) {
    value /= 1_000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

function twoDigits(value: number): string {
  return String(value).padStart(2, '0');
}
