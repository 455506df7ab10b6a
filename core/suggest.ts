/** "Did you mean": the known word that a person most likely meant to type. */
import { closestMatch } from 'leven';

/** The candidate nearest to `word`; undefined when none is near enough to be a slip of the fingers. */
export function closest(word: string, candidates: readonly string[]): string | undefined {
  const known = new Map(candidates.map((candidate) => [plain(candidate), candidate]));
  const target = plain(word);
  const extended = [...known.keys()].find(
    (candidate) =>
      target.length >= 3 &&
      candidate.length >= 3 &&
      (candidate.startsWith(target) || target.startsWith(candidate)),
  );
  const match = closestMatch(target, [...known.keys()], { maxDistance: slips(target) }) ?? extended;
  return match === undefined ? undefined : known.get(match);
}

/** ` (did you mean X?)` with a space in front, or nothing: the end of a message about an unknown word. */
export function didYouMean(word: string, candidates: readonly string[]): string {
  const match = closest(word, candidates);
  return match === undefined ? '' : ` (did you mean ${match}?)`;
}

/** Two letters swapped count as two slips. */
function slips(word: string): number {
  return word.length < 4 ? 1 : Math.max(2, Math.floor(word.length / 3));
}

/** `gpuType`, `gpu-type` and `gpu_type` are the same word. */
function plain(word: string): string {
  return word.toLowerCase().replaceAll(/[-_ ]/g, '');
}
