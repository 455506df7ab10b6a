/**
 * `npm run bench`: what mcli adds to the things that it stands on, measured side by side in one run.
 * Uses a local stack of its own, which it takes down again.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import { alignColumns } from '../cli/output/table.ts';
import { NAMESPACE, WORKFLOW_TYPES } from '../core/naming.ts';
import { ensureStack } from '../stack/local-stack.ts';
import { measureLogs } from './logs.ts';
import { interleave, time } from './measure.ts';
import type { Summary } from './measure.ts';

const PAIRS = Number(process.env['MCLI_BENCH_PAIRS'] ?? 20);
const LOG_ROUNDS = Math.min(PAIRS, 5);
const LISTED_RUNS = 1_000;
const root = path.dirname(import.meta.dirname);
const mcli = path.join(root, 'bin/mcli');

const home = await mkdtemp(path.join(tmpdir(), 'mcli-bench-'));
const env = { ...process.env, MCLI_HOME: home };
try {
  await time(mcli, ['up'], env);
  const file = path.join(home, 'run.yaml');
  await writeFile(file, 'name: bench\nimage: bash\ncompute: { gpus: 0 }\ncommand: echo hello\n');
  // Not counted: the first run warms the workers.
  await time(mcli, ['run', '-f', file], env);

  const dockerArgs = ['run', '--rm', 'bash', 'bash', '-c', 'echo hello'];
  const runs = await interleave(PAIRS, {
    docker: async () => (await time('docker', dockerArgs)).exitMs,
    mcli: async () => (await time(mcli, ['run', '-f', file], env)).exitMs,
  });
  const lines = await interleave(PAIRS, {
    docker: async () => (await time('docker', dockerArgs)).firstByteMs ?? NaN,
    mcli: async () => (await time(mcli, ['run', '-f', file], env)).firstByteMs ?? NaN,
  });
  const logs = await measureLogs({ mcli, home, env }, LOG_ROUNDS);
  await seedRuns();
  const starts = await interleave(PAIRS, {
    node: async () => (await time(process.execPath, ['-e', '0'])).exitMs,
    help: async () => (await time(mcli, ['--help'], env)).exitMs,
    getRuns: async () => (await time(mcli, ['get', 'runs'], env)).exitMs,
    getAllRuns: async () => (await time(mcli, ['get', 'runs', '--limit', 'none'], env)).exitMs,
  });
  console.log(
    alignColumns([
      ['', 'MIN', 'MEDIAN', 'P99', 'MEDIAN RATIO', 'AIM'],
      row('docker run --rm', runs.docker, runs.docker),
      row('mcli run, warm image', runs.mcli, runs.docker, '≤ 2.5'),
      row('docker run, first line', lines.docker, lines.docker),
      row('mcli run, first line', lines.mcli, lines.docker),
      row('node -e 0', starts.node, starts.node),
      row('mcli --help', starts.help, starts.node, '≤ 2'),
      row(`mcli get runs, 50 of ${LISTED_RUNS}`, starts.getRuns, starts.node),
      row(`mcli get runs, all ${LISTED_RUNS}`, starts.getAllRuns, starts.node),
    ]),
  );
  console.log(`\nmilliseconds, ${PAIRS} rounds, interleaved\n`);
  const { burst, delay } = logs;
  console.log(
    alignColumns([
      ['', 'MIN', 'MEDIAN', 'P99', 'MEDIAN RATIO', 'AIM'],
      row('docker logs -f, lines/s', burst.docker, burst.docker),
      row('log lines/s end to end', burst.mcli, burst.docker, '≥ 50000'),
      row('docker logs -f, delay in ms', delay.docker, delay.docker),
      row('log delay in ms', delay.mcli, delay.docker, 'p99 ≤ 300'),
    ]),
  );
} finally {
  await time(mcli, ['down'], env).catch((error: unknown) => console.error(error));
  await rm(home, { recursive: true, force: true });
}

function row(name: string, side: Summary, base: Summary, aim = ''): string[] {
  const figures = [side.min, side.median, side.p99].map((ms) => ms.toFixed(0));
  return [name, ...figures, (side.median / base.median).toFixed(2), aim];
}

/** Runs that only a list can see: open workflows on a queue that nobody serves. */
async function seedRuns(): Promise<void> {
  const { temporalAddress } = await ensureStack({ env, say: console.error });
  const connection = await Connection.connect({ address: temporalAddress });
  const client = new Client({ connection, namespace: NAMESPACE });
  const keyword = (name: string, value: string) => ({
    key: defineSearchAttributeKey(name, SearchAttributeType.KEYWORD),
    value,
  });
  const int = (name: string, value: number) => ({
    key: defineSearchAttributeKey(name, SearchAttributeType.INT),
    value,
  });
  for (let index = 0; index < LISTED_RUNS; index += 20) {
    await Promise.all(
      Array.from({ length: 20 }, (_, offset) =>
        client.workflow.start(WORKFLOW_TYPES.run, {
          workflowId: `listed-${index + offset}`,
          taskQueue: 'bench-nobody',
          typedSearchAttributes: [
            keyword('RunStatus', 'QUEUED'),
            keyword('RunReason', ''),
            keyword('RunUser', 'bench'),
            keyword('Cluster', 'r1z1'),
            keyword('Priority', 'medium'),
            keyword('GpuType', 'none'),
            int('Gpus', 0),
            int('Nodes', 1),
            int('Resumption', 0),
          ],
        }),
      ),
    );
  }
  await connection.close();
}
