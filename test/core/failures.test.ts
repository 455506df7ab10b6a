import { describe, expect, it } from 'vitest';
import { describeStop, exitFailure, FAILURES } from '../../core/failures.ts';
import type { ProgramExit } from '../../core/failures.ts';

const exit = (exitCode: number, more: Partial<ProgramExit> = {}) =>
  exitFailure({ exitCode, oomKilled: false, ...more });

describe('the end of a container', () => {
  it.each([
    ['an exit code', exit(3), 'NonZeroExit', 'The command ended with exit code 3.'],
    ['an unknown command', exit(127), 'CommandNotFound', 'The command was not found (exit code 127).'],
    ['a signal', exit(139), 'KilledBySignal', 'The command was killed by SIGSEGV.'],
    ['a code above all signals', exit(255), 'NonZeroExit', 'The command ended with exit code 255.'],
    [
      'the limit of memory',
      exit(137, { oomKilled: true, memoryLimitBytes: 3 * 1024 ** 3 }),
      'OutOfMemory',
      'The run was killed because it used all of its 3 GB of memory.',
    ],
    [
      'the limit of memory, which took everything',
      exit(137, { oomKilled: true, end: 'unseen' }),
      'OutOfMemory',
      'The run was killed because it ran out of memory.',
    ],
    [
      'a full disk',
      exit(1, { diskFull: true }),
      'DiskFull',
      'The command ended with exit code 1, and the disk of the node was full.',
    ],
  ])('by %s', (_, failure, type, message) => {
    expect(failure).toMatchObject({ type, message });
  });

  it('is none with exit code 0, whatever a process of it met', () => {
    expect(exit(0)).toBeUndefined();
    expect(exit(0, { oomKilled: true, end: 'itself' })).toBeUndefined();
  });

  it.each([0, 1, 137, 143, 255])('from outside is none of the run, also with code %d', (code) => {
    for (const end of ['told', 'unseen'] as const) {
      const failure = exit(code, { end });
      expect(failure?.type).toBe('ContainerStopped');
      // It did not run to its end.
      expect(failure).not.toHaveProperty('exitCode');
    }
  });
});

it('an end by the node itself is told as one, and what came to its own end is not', () => {
  for (const end of ['told', 'unseen'] as const) {
    expect(exit(137, { end, unheardMs: 270_000 })).toEqual({
      type: 'ContainerStopped',
      message:
        'The container was ended by its node, which had not reached the control plane for 270 s: its lease was nearly over.',
    });
  }
  expect(exit(0, { end: 'itself', unheardMs: 270_000 })).toBeUndefined();
});

it('a stop says who ended it, and when', () => {
  expect(describeStop({ endedBy: 'SIGTERM', afterMs: 2_134 }, 30_000)).toBe(
    'It ended by itself on SIGTERM after 2.1 s.',
  );
  expect(describeStop({ endedBy: 'SIGKILL', afterMs: 30_040 }, 30_000)).toBe(
    'It was killed after the grace of 30 s.',
  );
  expect(describeStop({ endedBy: 'not-running' }, 30_000)).toBeUndefined();
});

it('whoever reads of a failure reads what to do next, unless somebody wanted it', () => {
  for (const [type, failure] of Object.entries(FAILURES)) {
    if (failure.blame !== 'order') expect('hint' in failure && failure.hint, type).toMatch(/\.$/);
  }
});
