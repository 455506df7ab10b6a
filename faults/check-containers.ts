/** Never two containers of one rank at a time, on whatever nodes, and none twice. */
import type { ContainerLife, Evidence } from './evidence.ts';
import type { Findings } from './findings.ts';
import { Notes } from './findings.ts';

export function checkContainers({ containers }: Evidence): Findings {
  const notes = new Notes();
  for (const lives of Map.groupBy(containers, ({ run, rank }) => `${run} ${rank}`).values()) {
    notes.look('one-container', lives.length);
    for (const [earlier, later] of overlaps(lives)) {
      const overlapMs = Math.min(earlier.aliveUntil, later.aliveUntil) - later.startedAt;
      notes.object(
        'one-container',
        later.run,
        `${nameOf(later)} lived beside ${nameOf(earlier)} for ${(overlapMs / 1000).toFixed(1)} s`,
      );
    }
  }
  const byName = Map.groupBy(containers, ({ run, resumption, rank }) => `${run} ${resumption} ${rank}`);
  for (const [first, ...more] of byName.values()) {
    notes.look('started-once');
    if (first === undefined || more.length === 0) continue;
    const where = [first, ...more].map(({ node }) => node).join(', ');
    notes.object(
      'started-once',
      first.run,
      `${nameOf(first)} was started ${more.length + 1} times: ${where}`,
    );
  }
  return notes;
}

/** Pairs of lives, or whatever has a beginning and an end, that overlap in time; the earlier one first. */
export function overlaps<T extends Pick<ContainerLife, 'startedAt' | 'aliveUntil'>>(
  lives: readonly T[],
): [T, T][] {
  const sorted = lives.toSorted((a, b) => a.startedAt - b.startedAt);
  return sorted.flatMap((earlier, index) =>
    sorted
      .slice(index + 1)
      .filter((later) => later.startedAt < earlier.aliveUntil)
      .map((later): [T, T] => [earlier, later]),
  );
}

export const nameOf = ({ run, resumption, rank, node }: ContainerLife): string =>
  `rank ${rank} of resumption ${resumption} of ${run} on ${node}`;
