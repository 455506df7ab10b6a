/** What is asked of the suite on the command line. */
import { parseArgs } from 'node:util';
import type { FaultKind } from './fault-kinds.ts';
import { FAULT_KINDS } from './fault-kinds.ts';
import { quickKinds } from './plan.ts';

const USAGE = `usage: npm run faults -- --runs N --seed S [--quick] [--faults KIND,…] [--json FILE] [--keep]
kinds: ${Object.keys(FAULT_KINDS).join(', ')}`;
/** Chance takes no more of a seed: a larger one would be another's. */
const MAX_SEED = 2 ** 31 - 1;

export interface Options {
  readonly runs: number;
  readonly seed: number;
  readonly quick: boolean;
  readonly kinds: readonly FaultKind[];
  readonly json: string | undefined;
  readonly keep: boolean;
}

/** Tells how it is used, and ends the process, where it does not understand. */
export function readOptions(): Options {
  try {
    const { values } = parseArgs({
      options: {
        runs: { type: 'string', default: '40' },
        seed: { type: 'string', default: '1' },
        quick: { type: 'boolean', default: false },
        faults: { type: 'string' },
        json: { type: 'string' },
        keep: { type: 'boolean', default: false },
      },
    });
    const { quick, json, keep } = values;
    const kinds = values.faults?.split(',') ?? (quick ? quickKinds() : Object.keys(FAULT_KINDS));
    const runs = wholeNumber('--runs', values.runs, { from: 1, to: 1_000 });
    const seed = wholeNumber('--seed', values.seed, { from: 0, to: MAX_SEED });
    for (const kind of kinds) {
      if (!Object.hasOwn(FAULT_KINDS, kind))
        throw new Error(`--faults: there is no kind ${JSON.stringify(kind)}`);
    }
    return { runs, seed, quick, json, keep, kinds: kinds as FaultKind[] };
  } catch (error) {
    console.error(`✗ ${(error as Error).message}\n${USAGE}`);
    process.exit(2);
  }
}

function wholeNumber(
  flag: string,
  text: string,
  { from, to }: { readonly from: number; readonly to: number },
): number {
  const number = text === '' ? NaN : Number(text);
  if (Number.isInteger(number) && number >= from && number <= to) return number;
  throw new Error(`${flag} ${text}: expected a whole number from ${from} to ${to}`);
}
