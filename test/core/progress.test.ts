import { assert, describe, expect, it } from 'vitest';
import { addReports, expectedEnd, fractionDone, parseReport } from '../../core/progress.ts';
import type { ProgressReport, RunProgress } from '../../core/progress.ts';

function after(...lines: (readonly [line: string, at: number])[]): RunProgress {
  let progress: RunProgress | undefined;
  for (const [line, at] of lines) {
    const { report = assert.fail(line), ...rest } = parseReport(line);
    ({ progress } = addReports(progress, { reports: [report], ...rest, at }));
  }
  return progress as RunProgress;
}

describe('a line', () => {
  it.each([
    ['{}', { metrics: {}, links: {} }],
    ['{"step": 3, "total": 100}', { step: 3, total: 100, metrics: {}, links: {} }],
    ['{"metrics": {"loss": 0.5}, "epoch": 2}', { metrics: { loss: 0.5 }, links: {} }],
    [
      '{"links": {"wandb": "https://x.example/r?a=1"}}',
      { metrics: {}, links: { wandb: 'https://x.example/r?a=1' } },
    ],
  ])('%s is a report', (line, report) => {
    expect(parseReport(line)).toEqual({ report });
  });

  it('of a loss that has diverged is one, too, as Python writes it', () => {
    const line = '{"step": 7, "metrics": {"loss": NaN, "lr": -Infinity, "NaN": 1}}';
    expect(parseReport(line)).toMatchObject({
      report: { step: 7, metrics: { loss: null, lr: null, NaN: 1 } },
    });
  });

  it('may have fields without a value', () => {
    expect(parseReport('{"step": null, "total": null, "metrics": null, "links": null}')).toEqual({
      report: { metrics: {}, links: {} },
    });
  });

  it.each([
    ['step 3', 'A line is not a JSON object.'],
    ['[1]', 'A line is not a JSON object.'],
    ['{"step": 1', 'A line is not a JSON object.'],
    ['{"step": "3", "metrics": {"loss": 1}}', '"step" is not a number from 0 on.'],
    ['{"step": 1e999}', '"step" is not a number from 0 on.'],
  ])('%s is none', (line, problem) => {
    expect(parseReport(line)).toEqual({ problem });
  });

  const NO_LINK = 'is not an http address of up to 500 characters.';
  it.each<[line: string, report: Partial<ProgressReport>, problem: string]>([
    ['{"step": 1, "total": -1}', { step: 1 }, '"total" is not a number from 0 on.'],
    [
      '{"step": 1, "metrics": {"loss": 2, "lr": "low", "acc": 1}}',
      { step: 1, metrics: { loss: 2, acc: 1 } },
      '"lr" in "metrics" is not a number.',
    ],
    ['{"metrics": [1], "total": 1}', { total: 1 }, '"metrics" is not an object.'],
    [
      '{"links": {"x": "javascript:alert(1)", "y": "https://y"}}',
      { links: { y: 'https://y' } },
      `"x" in "links" ${NO_LINK}`,
    ],
    ['{"links": {"x": "https://a/\\u001b[2J"}}', {}, `"x" in "links" ${NO_LINK}`],
    [
      '{"metrics": {"\\u001b[2J": 1, "ok": 2}}',
      { metrics: { ok: 2 } },
      'A name in "metrics" is too long, or has control characters.',
    ],
    [
      `{"links": {"${'x'.repeat(101)}": "https://x"}}`,
      {},
      'A name in "links" is too long, or has control characters.',
    ],
  ])('%s is a report without what is wrong in it', (line, report, problem) => {
    expect(parseReport(line)).toEqual({ report: { metrics: {}, links: {}, ...report }, problem });
  });
});

describe('several lines', () => {
  it('override each other field by field', () => {
    const progress = after(
      ['{"total": 10, "links": {"wandb": "https://w"}}', 0],
      ['{"step": 1, "metrics": {"loss": 2, "accuracy": 0.1}}', 1_000],
      ['{"step": 2, "metrics": {"loss": 1}, "links": {"docs": "https://d"}}', 2_000],
    );
    expect(progress).toMatchObject({
      step: 2,
      total: 10,
      metrics: { loss: 1, accuracy: 0.1 },
      links: { wandb: 'https://w', docs: 'https://d' },
    });
    expect(fractionDone(progress)).toBe(0.2);
  });

  it('tell of each metric where it was reported last, and what was left out last', () => {
    const progress = after(
      ['{"step": 100, "metrics": {"loss": 2, "eval": 0.5}}', 1_000],
      ['{"step": 150, "metrics": {"loss": 1, "lr": "low"}}', 2_000],
      ['{"step": 151, "total": 200}', 3_000],
    );
    expect(progress.measured).toEqual({
      loss: { step: 150, at: 2_000 },
      eval: { step: 100, at: 1_000 },
    });
    expect(progress.problem).toBe('"lr" in "metrics" is not a number.');
  });

  it('bring each value of a metric, at its step', () => {
    const before = after(['{"step": 5, "metrics": {"loss": 9}}', 0]);
    const reports = ['{"metrics": {"loss": 3}}', '{"step": 6, "metrics": {"loss": NaN}}'].map(
      (line) => parseReport(line).report ?? assert.fail(line),
    );
    expect(addReports(before, { reports, at: 7 }).added).toEqual([
      { name: 'loss', value: 3, step: 5, at: 7 },
      { name: 'loss', value: Number.NaN, step: 6, at: 7 },
    ]);
  });

  it('tell when the run will end, from where it went on', () => {
    const progress = after(
      ['{"step": 500, "total": 1000}', 10_000],
      ['{"step": 600}', 20_000],
      ['{}', 30_000],
    );
    expect(expectedEnd(progress)).toBe(60_000);
  });

  it('tell nothing before the second step, without a total, and at the end', () => {
    expect(expectedEnd(after(['{"step": 5, "total": 10}', 1]))).toBeUndefined();
    expect(expectedEnd(after(['{"step": 5}', 1], ['{"step": 6}', 2]))).toBeUndefined();
    expect(expectedEnd(after(['{"step": 9, "total": 10}', 1], ['{"step": 10}', 2]))).toBeUndefined();
    expect(fractionDone(after(['{"step": 5}', 1]))).toBeUndefined();
    expect(fractionDone(after(['{"step": 0, "total": 0}', 1]))).toBeUndefined();
    expect(fractionDone(after(['{"step": 12, "total": 10}', 1]))).toBe(1);
  });

  it.each([1e14, 1e308])('tell no end that is no date, as of %d steps', (total) => {
    const progress = after([`{"step": 0, "total": ${total}}`, 0], ['{"step": 1}', 1_000]);
    expect(expectedEnd(progress)).toBeUndefined();
  });

  it('begin to count again when the steps do', () => {
    const progress = after(
      ['{"step": 90, "total": 100}', 0],
      ['{"step": 100}', 10_000],
      ['{"step": 0, "total": 10}', 20_000],
      ['{"step": 5}', 30_000],
    );
    expect(expectedEnd(progress)).toBe(40_000);
  });

  it('stay small, however many names they bring', () => {
    let progress: RunProgress | undefined;
    for (let i = 0; i < 1_000; i++) {
      const metrics = { [`m${i}`]: i, m0: i };
      const links = { [`l${i}`]: 'https://x' };
      ({ progress } = addReports(progress, { reports: [{ step: i, metrics, links }], at: i }));
    }
    expect(Object.keys(progress?.metrics ?? {})).toHaveLength(64);
    expect(Object.keys(progress?.links ?? {})).toHaveLength(8);
    expect(progress?.metrics).toMatchObject({ m0: 999, m63: 63 });
    expect(progress?.problem).toBe('The metric m999 is one of more than 64.');
    expect(JSON.stringify(progress).length).toBeLessThan(8_000);
  });
});
