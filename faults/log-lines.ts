/** Logs as the checker takes them apart, and as it tells of them. */
import type { RankName } from './program.ts';

const SHOWN_CHARACTERS = 80;
const SHOWN_RANGES = 5;

/** How every line of a rank begins. */
export const headOf = ({ run, resumption, rank }: RankName): string => `${run} ${resumption}.${rank} `;

export function numberOf(name: RankName, line: string): number | undefined {
  const head = headOf(name);
  const number = line.startsWith(head) ? Number.parseInt(line.slice(head.length), 10) : NaN;
  return Number.isNaN(number) ? undefined : number;
}

/** Whole lines, and what stands behind the last of them. */
export function split(text: string): { readonly lines: readonly string[]; readonly rest: string } {
  const lines = text.split('\n');
  const rest = lines.pop() ?? '';
  return { lines, rest };
}

export const allLines = (text: string): string[] => text.split('\n').filter((line) => line !== '');

export const shown = (text: string): string => JSON.stringify(text.slice(0, SHOWN_CHARACTERS));

/** Numbers in ascending order, as people write them: `lines 3-7, 9 (6 in all) are`. */
export function describe(numbers: readonly number[]): string {
  const ranges = rangesOf(numbers);
  const texts = ranges
    .slice(0, SHOWN_RANGES)
    .map(({ from, to }) => (from === to ? String(from) : `${from}-${to}`));
  const more = ranges.length > SHOWN_RANGES ? ', …' : '';
  return `lines ${texts.join(', ')}${more} (${numbers.length} in all) are`;
}

/** Numbers that follow one another, put together. */
export function rangesOf(numbers: readonly number[]): { from: number; to: number }[] {
  const ranges: { from: number; to: number }[] = [];
  for (const number of numbers) {
    const last = ranges.at(-1);
    if (last?.to === number - 1) last.to = number;
    else ranges.push({ from: number, to: number });
  }
  return ranges;
}
