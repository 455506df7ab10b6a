import { describe, expect, it } from 'vitest';
import type { FaultKind } from '../../faults/fault-kinds.ts';
import { FAULT_KINDS, faultFacts } from '../../faults/fault-kinds.ts';
import { makePlan, quickKinds } from '../../faults/plan.ts';

const ALL = Object.keys(FAULT_KINDS) as FaultKind[];
const wish = (seed: number) => ({ seed, runs: 40, quick: false, kinds: ALL });

describe('a plan', () => {
  it('is the same for the same seed, and another for another', () => {
    expect(makePlan(wish(7))).toEqual(makePlan(wish(7)));
    expect(makePlan(wish(7)).runs).not.toEqual(makePlan(wish(8)).runs);
  });

  it('has over a few seeds all kinds of faults and all that a run can do', () => {
    const plans = Array.from({ length: 10 }, (_, seed) => seed).map((seed) => makePlan(wish(seed)));
    const kinds = new Set(plans.flatMap(({ faults }) => faults.map(({ kind }) => kind)));
    expect([...kinds].toSorted()).toEqual(ALL.toSorted());
    const runs = plans.flatMap((plan) => plan.runs);
    const ends = new Set(runs.map(({ program }) => program.end.type));
    expect([...ends].toSorted()).toEqual(['exit', 'fails-before', 'rank-fails', 'signal']);
    expect(new Set(runs.map(({ program }) => program.onTerm)).size).toBe(4);
    expect(runs.some(({ nodes }) => nodes === 2)).toBe(true);
    expect(runs.some(({ gpus }) => gpus === 0)).toBe(true);
    expect(runs.some(({ preemptible }) => preemptible)).toBe(true);
  });

  it('lets nothing that never ends go without somebody who ends it', () => {
    for (const seed of [1, 2, 3]) {
      for (const { program, stopAfterMs, maxDurationMs } of makePlan(wish(seed)).runs) {
        expect(program.lines === null).toBe(stopAfterMs !== undefined || maxDurationMs !== undefined);
      }
    }
  });

  it('waits for no lease when it has to be quick', () => {
    for (const kind of quickKinds()) expect(faultFacts(kind).lastsMs?.[1] ?? 0).toBeLessThanOrEqual(10_000);
  });
});
