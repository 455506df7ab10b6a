/** Times whole processes, and pairs them so that both sides of a comparison see the same machine. */
import { spawn } from 'node:child_process';

export interface Timing {
  /** From the start of the process to its end. */
  readonly exitMs: number;
  /** From the start of the process to its first byte on stdout; absent when it prints nothing. */
  readonly firstByteMs?: number;
}

/** @throws Error with the end of its stderr when the command does not return 0 */
export function time(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<Timing> {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    let firstByteMs: number | undefined;
    let errors = '';
    const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.on('data', () => (firstByteMs ??= performance.now() - start));
    child.stderr.on('data', (data: Buffer) => (errors = (errors + data.toString()).slice(-2_000)));
    child.on('error', reject);
    child.on('close', (code) => {
      const exitMs = performance.now() - start;
      if (code !== 0) reject(new Error(`${command} ${args.join(' ')} returned ${code}: ${errors}`));
      else resolve({ exitMs, ...(firstByteMs === undefined ? {} : { firstByteMs }) });
    });
  });
}

export interface Summary {
  readonly min: number;
  readonly median: number;
  readonly p99: number;
}

export function summarise(values: readonly number[]): Summary {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
  return { min: at(0), median: at(0.5), p99: at(0.99) };
}

/** Runs every side once per round, in turn, so that noise falls on all of them alike. */
export async function interleave<Name extends string>(
  rounds: number,
  sides: Readonly<Record<Name, () => Promise<number>>>,
): Promise<Record<Name, Summary>> {
  const names = Object.keys(sides) as Name[];
  const values = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  for (let round = 0; round < rounds; round++) {
    for (const name of names) values[name].push(await sides[name]());
  }
  return Object.fromEntries(names.map((name) => [name, summarise(values[name])])) as Record<Name, Summary>;
}
