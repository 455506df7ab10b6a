/**
 * `npm run bench:schedule -- FILE [--gpus N | --nodes N --gpus-per-node M] [--no-limits | --true-times]
 * [--policy NAME|all] [-o json]`:
 * replays a cluster log through the product's planner and prints how long runs waited.
 */
import { parseArgs } from 'node:util';
import { POLICIES, PRODUCT_POLICY } from '../../core/policy.ts';
import type { Policy } from '../../core/policy.ts';
import { replay } from './replay.ts';
import type { ReplayOptions, ReplayResult } from './replay.ts';
import { readTrace } from './traces.ts';
import type { Trace } from './traces.ts';

const USAGE =
  'usage: npm run bench:schedule -- FILE [--gpus N | --nodes N --gpus-per-node M] [--no-limits | --true-times]\n' +
  `       [--policy ${[...POLICIES.map(({ name }) => name), 'all'].join('|')}] [-o json]`;

try {
  main();
} catch (error) {
  console.error(`✗ ${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
  process.exitCode = 2;
}

function main(): void {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      gpus: { type: 'string' },
      nodes: { type: 'string' },
      'gpus-per-node': { type: 'string' },
      'no-limits': { type: 'boolean' },
      'true-times': { type: 'boolean' },
      policy: { type: 'string', default: PRODUCT_POLICY.name },
      output: { type: 'string', short: 'o', default: 'text' },
    },
  });
  const [file] = positionals;
  if (file === undefined || positionals.length > 1) throw new Error('name one log file');
  const trace = readTrace(file);
  const limits = values['no-limits'] === true ? 'none' : values['true-times'] === true ? 'true' : 'user';
  const size = sizeOf(trace, values);
  const results = policiesOf(values.policy).map((policy) => replay(trace, { policy, limits, ...size }));
  if (values.output === 'json') {
    console.log(JSON.stringify({ trace: trace.name, skipped: trace.skipped, ...size, results }, null, 2));
  } else {
    print(trace, size, results);
  }
}

type Size = Pick<ReplayOptions, 'nodes' | 'gpusPerNode'>;

/** One resource, as one large node, unless nodes are given. Without any size, the log's own, or its widest job's. */
function sizeOf(
  trace: Trace,
  given: { readonly gpus?: string; readonly nodes?: string; readonly 'gpus-per-node'?: string },
): Size {
  if (given.nodes !== undefined) {
    return { nodes: positive(given.nodes), gpusPerNode: positive(given['gpus-per-node'] ?? '8') };
  }
  const widest = Math.max(...trace.jobs.map(({ units }) => units));
  const gpus = given.gpus === undefined ? (trace.capacity ?? widest) : positive(given.gpus);
  return { nodes: 1, gpusPerNode: gpus };
}

function positive(text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1) throw new Error(`${text} is not a whole number above 0`);
  return number;
}

function policiesOf(name: string): readonly Policy[] {
  const policies = POLICIES.filter((policy) => name === 'all' || policy.name === name);
  if (policies.length === 0) throw new Error(`there is no policy ${name}`);
  return policies;
}

function print(trace: Trace, { nodes, gpusPerNode }: Size, results: readonly ReplayResult[]): void {
  const [first] = results;
  if (first === undefined) return;
  const limits = {
    user: 'limits as logged',
    none: 'no limits: run times are learned',
    true: 'true run times known',
  };
  console.log(
    `${trace.name}: ${first.jobs} jobs on ${nodes} x ${gpusPerNode} GPUs, ${limits[first.limits]}` +
      (first.refused > 0 ? `; ${first.refused} larger than that left out` : ''),
  );
  const head = [
    'policy',
    'AVEbsld',
    'mean s',
    'p50 s',
    'p95 s',
    'p99 s',
    'max s',
    'util',
    'decisions/s',
    'in band',
    'median error s',
  ];
  const rows = results.map((result) => [
    result.policy,
    result.aveBsld.toFixed(1),
    ...[
      result.meanWaitSecs,
      result.p50WaitSecs,
      result.p95WaitSecs,
      result.p99WaitSecs,
      result.maxWaitSecs,
    ].map(whole),
    `${(100 * result.utilisation).toFixed(1)} %`,
    whole(result.decisionsPerSec),
    `${(100 * result.forecasts.insideBand).toFixed(0)} %`,
    whole(result.forecasts.medianErrorSecs),
  ]);
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((row) => row[column]?.length ?? 0)));
  for (const row of [head, ...rows]) {
    console.log(
      row
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join('  '),
    );
  }
}

function whole(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}
