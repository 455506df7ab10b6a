import { execFile } from 'node:child_process';
import path from 'node:path';
import { describe, expect, it } from 'vitest';

const root = path.resolve(import.meta.dirname, '../..');
/** Less than a minute on a machine that has not much else to do. */
const WITHIN_MS = 240_000;

describe('the fault suite', () => {
  // This seed kills a container, both workers, an agent and Temporal, restarts an agent, and stalls one, under a gang.
  it(
    'loses nothing and doubles nothing in a short run',
    async () => {
      const { code, output } = await faults('--runs', '6', '--seed', '45017', '--quick');
      // The output tells what was violated, with a timeline.
      expect(code, output).toBe(0);
      expect(output).toContain('✔ Seed 45017: nothing lost, nothing doubled.');
    },
    WITHIN_MS,
  );

  it.each([
    ['--faults', 'earthquake'],
    ['--faults', ''],
    ['--runs', '0'],
    ['--seed', '4294967296'],
  ])('tells how it is used when it does not understand: %s %s', async (flag, value) => {
    const { code, output } = await faults(flag, value);
    expect(code).toBe(2);
    expect(output).toContain('usage: npm run faults -- --runs N --seed S');
  });
});

function faults(...args: readonly string[]): Promise<{ readonly code: number; readonly output: string }> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [path.join(root, 'faults/index.ts'), ...args],
      { maxBuffer: 64 * 1024 * 1024 },
      (_, stdout, stderr) => resolve({ code: child.exitCode ?? -1, output: `${stderr}\n${stdout}` }),
    );
  });
}
