import { describe, expect, it } from 'vitest';
import { emptyHistory, learn, learnedRunTime, outlived, RunTimes } from '../../core/estimates.ts';

const MINUTE_MS = 60_000;
const train = { user: 'ann', name: 'train', gpus: 8 };

describe('learned run times', () => {
  it('are the geometric mean of the last five of the same user, name and size', () => {
    const history = emptyHistory();
    for (const minutes of [9_999, 1, 10, 100, 10, 10]) learn(history, train, minutes * MINUTE_MS);
    expect(learnedRunTime(history, train)).toBeCloseTo(10 * MINUTE_MS);
  });

  it('fall back to the name, the user and at last to anybody', () => {
    const history = emptyHistory();
    learn(history, { ...train, user: 'bob' }, MINUTE_MS);
    expect(learnedRunTime(history, train)).toBeCloseTo(MINUTE_MS);
    learn(history, { ...train, name: 'other' }, 2 * MINUTE_MS);
    expect(learnedRunTime(history, train)).toBeCloseTo(2 * MINUTE_MS);
    learn(history, { ...train, gpus: 1 }, 3 * MINUTE_MS);
    expect(learnedRunTime(history, train)).toBeCloseTo(3 * MINUTE_MS);
  });

  it('say the same through RunTimes, where a limit goes before any guess', () => {
    const history = emptyHistory();
    learn(history, train, 3 * MINUTE_MS);
    const runTimes = new RunTimes(history);
    expect(runTimes.estimate(train).ms).toBe(learnedRunTime(history, train));
    expect(runTimes.estimate(train).guessed).toBe(true);
    expect(runTimes.estimate({ ...train, maxDurationMs: 7 })).toEqual({ ms: 7, guessed: false });
    expect(new RunTimes(emptyHistory()).estimate(train)).toEqual({ ms: 24 * 60 * MINUTE_MS, guessed: true });
  });

  it('stay within bounds, forget the least recently used, and survive JSON', () => {
    let history = emptyHistory();
    for (let i = 0; i < 3_000; i++) {
      learn(history, { ...train, name: `n${i}` }, MINUTE_MS);
      learn(history, train, 5 * MINUTE_MS);
      if (i % 1_000 === 0) history = JSON.parse(JSON.stringify(history)) as typeof history;
    }
    expect(history.keys).toBe(Object.keys(history.ranMs).length);
    expect(history.keys).toBeLessThanOrEqual(2_000);
    expect(JSON.stringify(history).length).toBeLessThan(200_000);
    expect(learnedRunTime(history, train)).toBeCloseTo(5 * MINUTE_MS);
  });
});

describe('outlived', () => {
  it('leaves an estimate that still holds as it is, and grows one that does not by ever larger steps', () => {
    expect(outlived(10 * MINUTE_MS, 9 * MINUTE_MS)).toBe(10 * MINUTE_MS);
    expect(outlived(10 * MINUTE_MS, 10 * MINUTE_MS)).toBe(11 * MINUTE_MS);
    expect(outlived(10 * MINUTE_MS, 12 * MINUTE_MS)).toBe(16 * MINUTE_MS);
    expect(outlived(10 * MINUTE_MS, 1_000 * 60 * MINUTE_MS)).toBeGreaterThan(1_000 * 60 * MINUTE_MS);
  });
});
