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
    expect(runs.some(({ nodes, program }) => nodes === 2 && !program.holdsOn)).toBe(true);
    expect(runs.some(({ program }) => program.holdsOn)).toBe(true);
    expect(runs.every(({ nodes, program }) => nodes === 2 || !program.holdsOn)).toBe(true);
    expect(runs.some(({ gpus }) => gpus === 0)).toBe(true);
    expect(runs.some(({ preemptible }) => preemptible)).toBe(true);
  });

  it('has every kind of fault in one seed, where there is time for all', () => {
    for (let seed = 0; seed < 50; seed += 1) {
      const { faults, calmFromMs } = makePlan(wish(seed));
      const kinds = new Set(faults.filter(({ atMs }) => atMs < calmFromMs).map(({ kind }) => kind));
      // In a minute and a half; the runs of few seeds come faster.
      if (calmFromMs > 95_000) expect(kinds.size, `seed ${seed}`).toBeGreaterThanOrEqual(ALL.length - 1);
    }
  });

  it('has the same faults for a seed, and at the same times, however many runs there are', () => {
    const few = makePlan({ ...wish(7), runs: 20 });
    const many = makePlan(wish(7));
    expect(few.runs).toEqual(many.runs.slice(0, 20));
    expect(few.faults).toEqual(many.faults.slice(0, few.faults.length));
    expect(few.faults.length).toBeLessThan(many.faults.length);
  });

  it('goes on for a while with those runs that do not end', () => {
    const { runs, faults, calmFromMs } = makePlan(wish(7));
    expect(calmFromMs).toBeGreaterThan(runs.at(-1)?.atMs ?? Infinity);
    const late = faults.filter(({ atMs }) => atMs > calmFromMs);
    expect(late.length).toBeGreaterThan(5);
    expect(late.at(-1)?.atMs).toBeLessThan(calmFromMs + 60_000);
  });

  it('has only the kinds that are asked for', () => {
    const { faults } = makePlan({ ...wish(7), kinds: ['kill-nats', 'kill-agent'] });
    expect(new Set(faults.map(({ kind }) => kind))).toEqual(new Set(['kill-nats', 'kill-agent']));
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
