import { expect, it, onTestFinished, vi } from 'vitest';
import { cleanUpAll } from '../../activities/clean-up.ts';
import { aRank } from '../support/docker.ts';

it('clears up what it can, says what it cannot, and never fails', async () => {
  const said = vi.spyOn(console, 'error').mockReturnValue();
  onTestFinished(() => said.mockRestore());
  const cleared: string[] = [];
  const cleanUp = cleanUpAll([
    () => Promise.reject(new Error('EACCES: permission denied')),
    async ({ run }) => void cleared.push(run),
  ]);
  const rank = aRank('true');
  await cleanUp(rank);
  expect(cleared).toEqual([rank.run]);
  expect(said.mock.calls.flat().join('\n')).toMatch(/Something is left of mcli-.*EACCES/);
});
