/** Where a run is seen in its experiment trackers, for people and scripts. */
import type { TrackerState } from '../../client/index.ts';
import { TRACKER_NAMES } from '../../core/tracking.ts';
import { displayTime } from './time.ts';

/**
 * Rows of `mcli describe run`.
 * @param ended whether the run has
 */
export function trackerRows(
  trackers: readonly TrackerState[],
  ended: boolean,
): (readonly [string, string])[] {
  return trackers.map((state) => {
    const { tracker, url } = state;
    const notes = notesOn(state, ended).join('; ');
    return [TRACKER_NAMES[tracker], url === undefined ? notes || '-' : url + (notes && ` (${notes})`)];
  });
}

function notesOn({ problem, told, nextTryAt }: TrackerState, ended: boolean): string[] {
  return [
    ...(ended && !told ? ['not told of the end of the run'] : []),
    ...(problem === undefined ? [] : [problem.replace(/\.$/, '')]),
    ...(nextTryAt === undefined ? [] : [`told again at ${displayTime(nextTryAt)}`]),
  ];
}

/** The documented shape. */
export function trackerAsJson({
  tracker,
  url,
  problem,
  told,
  nextTryAt,
}: TrackerState): Record<string, unknown> {
  return {
    tracker,
    url: url ?? null,
    told,
    problem: problem ?? null,
    nextTryAt: nextTryAt?.toISOString() ?? null,
  };
}
