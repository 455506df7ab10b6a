import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { replay } from '../../bench/schedule/replay.ts';
import type { ReplayOptions } from '../../bench/schedule/replay.ts';
import { readTrace } from '../../bench/schedule/traces.ts';
import { POLICIES, PRODUCT_POLICY } from '../../core/policy.ts';

const folder = mkdtempSync(join(tmpdir(), 'mcli-traces-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const traces = new URL('../../../shared/traces/', import.meta.url).pathname;
const kth = join(traces, 'kth-sp2.swf.gz');
const philly = join(traces, 'philly-103959.csv');
const withTraces = describe.skipIf(!existsSync(kth) || !existsSync(philly));

function run(file: string, policy: string, options: Omit<ReplayOptions, 'policy'>) {
  const found = POLICIES.find(({ name }) => name === policy) ?? PRODUCT_POLICY;
  return replay(readTrace(file), { ...options, policy: found });
}

describe('reading logs', () => {
  it('takes processors asked for, else used, and leaves out lines that have neither', () => {
    const file = join(folder, 'small.swf.gz');
    const lines = [
      '; MaxProcs: 16',
      '1 0 5 100 4 -1 -1 8 600 -1 1 7 1 3 -1 -1 -1 -1',
      '2 9 5 50 4 -1 -1 -1 -1 -1 1 7 1 -1 -1 -1 -1 -1',
      '3 9 5 50 -1 -1 -1 -1 -1 -1 1 7 1 -1 -1 -1 -1 -1',
    ];
    writeFileSync(file, gzipSync(lines.join('\n')));
    expect(readTrace(file)).toMatchObject({
      capacity: 16,
      skipped: 1,
      jobs: [
        { submit: 0, ran: 100, units: 8, limit: 600, user: 'u7', name: 'app3' },
        { submit: 9, ran: 50, units: 4 },
      ],
    });
  });

  it('reads CSV by its column names', () => {
    const file = join(folder, 'small.csv');
    writeFileSync(file, 'job_id,submit_time,model_name,num_gpu,duration\n0,5,bert,2,60\n1,0,vgg,1,30\n');
    expect(readTrace(file).jobs).toEqual([
      { submit: 0, ran: 30, units: 1, user: 'all', name: 'vgg' },
      { submit: 5, ran: 60, units: 2, user: 'all', name: 'bert' },
    ]);
  });

  it('counts waits and bounded slowdown as defined', () => {
    const file = join(folder, 'queue.csv');
    writeFileSync(file, 'submit_time,num_gpu,duration\n0,4,100\n0,4,5\n');
    const result = run(file, 'fcfs', { nodes: 1, gpusPerNode: 4, limits: 'user' });
    expect(result).toMatchObject({ jobs: 2, meanWaitSecs: 50, maxWaitSecs: 100 });
    expect(result.aveBsld).toBeCloseTo((1 + 105 / 10) / 2);
    expect(result.utilisation).toBeCloseTo(1);
  });
});

withTraces('the logs in ../shared (skipped where they are absent)', () => {
  it('give the known figures for greedy: the replay can be trusted', () => {
    expect(run(kth, 'greedy', { nodes: 1, gpusPerNode: 100, limits: 'user' })).toMatchObject({
      aveBsld: expect.closeTo(71.8, 1),
      meanWaitSecs: expect.closeTo(5_763, -1),
      maxWaitSecs: 1_723_252,
    });
    expect(run(philly, 'greedy', { nodes: 1, gpusPerNode: 24, limits: 'none' })).toMatchObject({
      aveBsld: expect.closeTo(20.4, 1),
      meanWaitSecs: expect.closeTo(195_936, -1),
      maxWaitSecs: expect.closeTo(696_541, -1),
    });
  });

  it('show the product short waits and no starvation, with limits and without', () => {
    const limited = run(kth, PRODUCT_POLICY.name, { nodes: 1, gpusPerNode: 100, limits: 'user' });
    expect(limited.aveBsld).toBeLessThanOrEqual(46);
    expect(limited.maxWaitSecs).toBeLessThanOrEqual(300_000);
    const learned = run(philly, PRODUCT_POLICY.name, { nodes: 1, gpusPerNode: 24, limits: 'none' });
    expect(learned.meanWaitSecs).toBeLessThanOrEqual(195_936);
    expect(learned.maxWaitSecs).toBeLessThan(696_541);
  });
});
