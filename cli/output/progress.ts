/** What a run reports of itself, for people and scripts. */
import { expectedEnd, fractionDone } from '../../core/progress.ts';
import type { RunProgress } from '../../core/progress.ts';
import { displayDuration, displayTime, iso } from './time.ts';

/** `■■■□□□□□□□(34%)`; empty when the run has not said how many steps there are. */
export function progressBar(progress: RunProgress | undefined): string {
  const fraction = progress && fractionDone(progress);
  if (fraction === undefined) return '';
  const full = Math.floor(fraction * BAR_LENGTH);
  return `${'■'.repeat(full)}${'□'.repeat(BAR_LENGTH - full)}(${Math.floor(fraction * 100)}%)`;
}

const BAR_LENGTH = 10;

/** Rows of `mcli describe run`. */
export function progressRows(progress: RunProgress): (readonly [string, string])[] {
  const { step, total, metrics, links, problem } = progress;
  const fraction = fractionDone(progress);
  const numbers = Object.entries(metrics).map(([name, value]) => `${name} ${value ?? 'not a number'}`);
  const rows: (readonly [string, string])[] = [];
  if (step !== undefined) {
    const share = fraction === undefined ? '' : ` of ${total} (${Math.floor(fraction * 100)}%)`;
    rows.push(['Progress', `Step ${step}${share}`]);
  }
  if (numbers.length > 0) rows.push(['Metrics', numbers.join(', ')]);
  for (const [name, address] of Object.entries(links)) rows.push([`Link ${name}`, address]);
  if (problem !== undefined) rows.push(['Progress File', problem]);
  return rows;
}

/** `2026-01-31 02:15 PM, in 12min`. */
export function displayExpectedEnd(end: number, now: number): string {
  return `${displayTime(new Date(end))}, in ${displayDuration(end - now)}`;
}

/**
 * The earlier of what the steps tell and of the run's limit; undefined when neither is known.
 * @param limit epoch milliseconds
 */
export function earliestEnd(
  progress: RunProgress | undefined,
  limit: number | undefined,
): number | undefined {
  const ends = [progress && expectedEnd(progress), limit].filter((end) => end !== undefined);
  return ends.length === 0 ? undefined : Math.min(...ends);
}

/**
 * The documented shape.
 * @param live whether the command runs: else it has no end to come
 */
export function progressAsJson(
  progress: RunProgress | undefined,
  live: boolean,
): Record<string, unknown> | null {
  if (!progress) return null;
  const { step, total, metrics, links, problem } = progress;
  return {
    step: step ?? null,
    total: total ?? null,
    fraction: fractionDone(progress) ?? null,
    metrics,
    links,
    problem: problem ?? null,
    expectedEnd: iso((live && expectedEnd(progress)) || null),
  };
}
