import { describe, expect, it, vi } from 'vitest';
import { Closing } from '../../faults/closing.ts';

describe('closing', () => {
  it('takes down everything once, the newest first, and whoever asks again waits for it', async () => {
    const done: string[] = [];
    const slow = Promise.withResolvers<void>();
    const closing = new Closing();
    closing.add(async () => void done.push('stack'));
    closing.add(async () => {
      done.push('nodes');
      await slow.promise;
    });
    const first = closing.all();
    const second = closing.all().then(() => done.push('left'));
    slow.resolve();
    await Promise.all([first, second]);
    expect(done).toEqual(['nodes', 'stack', 'left']);
  });

  it('goes on when something can not be taken down', async () => {
    const said = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    const done: string[] = [];
    const closing = new Closing();
    closing.add(async () => void done.push('stack'));
    closing.add(() => Promise.reject(new Error('stuck')));
    await closing.all();
    expect(done).toEqual(['stack']);
    expect(said).toHaveBeenCalled();
    said.mockRestore();
  });
});
