import { describe, expect, it } from 'vitest';
import { addReport, expectedEnd, fractionDone, parseReport } from '../../core/progress.ts';
import type { RunProgress } from '../../core/progress.ts';

function after(...lines: (readonly [line: string, at: number])[]): RunProgress {
  let progress: RunProgress | undefined;
  for (const [line, at] of lines) {
    const parsed = parseReport(line);
    if ('problem' in parsed) throw new Error(parsed.problem);
    progress = addReport(progress, parsed.report, at);
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

  it.each([
    ['step 3', 'it is not a JSON object'],
    ['[1]', 'it is not a JSON object'],
    ['{"step": "3"}', '"step" is not a number from 0 on'],
    ['{"step": 1, "total": -1}', '"total" is not a number from 0 on'],
    ['{"step": 1e999}', '"step" is not a number from 0 on'],
    ['{"metrics": {"loss": "low"}}', '"metrics" is not an object of numbers'],
    ['{"metrics": [1]}', '"metrics" is not an object of numbers'],
    ['{"links": {"x": "javascript:alert(1)"}}', '"links" is not an object of http addresses'],
    ['{"links": {"x": "https://a/\\u001b[2J"}}', '"links" is not an object of http addresses'],
  ])('%s is none', (line, problem) => {
    expect(parseReport(line)).toEqual({ problem });
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
      const metrics = { [`m${i}`]: i, ['long'.repeat(100)]: 1, '\u001b[2J': 1, m0: i };
      const links = { [`l${i}`]: 'https://x' };
      progress = addReport(progress, { step: i, metrics, links }, i);
    }
    expect(Object.keys(progress?.metrics ?? {})).toHaveLength(64);
    expect(Object.keys(progress?.links ?? {})).toHaveLength(8);
    expect(progress?.metrics).toMatchObject({ m0: 999, m63: 63 });
    expect(JSON.stringify(progress).length).toBeLessThan(4_000);
  });
});
