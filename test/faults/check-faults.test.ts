import { describe, expect, it } from 'vitest';
import type { FaultKind } from '../../faults/fault-kinds.ts';
import { aDay, aFault, RUN } from './evidence.ts';
import { messages, objections } from './objections.ts';

describe('what was hit', () => {
  it('is well again', () => {
    const { wellAt: _, ...never } = aFault('kill-guard');
    expect(objections(aDay({ faults: [never] }))).toEqual(['well-again']);
    expect(messages(aDay({ faults: [never] }))).toBe(
      'after kill-guard of n0, that was not seen to be well again',
    );
    expect(objections(aDay({ faults: [aFault('kill-guard')] }))).toEqual([]);
  });

  it('is well again also when it is a run', () => {
    const { wellAt: _, ...never } = aFault('kill-container', { target: RUN });
    expect(objections(aDay({ faults: [never] }))).toEqual(['well-again']);
  });
});

describe('faults', () => {
  const day = (hits: number, skipped: readonly FaultKind[]) => ({
    ...aDay({ faults: Array.from({ length: hits }, () => aFault('kill-nats', { target: 'nats' })) }),
    skipped,
  });

  it('find something to hit, four of five', () => {
    expect(objections(day(4, ['kill-container']))).toEqual([]);
    expect(objections(day(7, ['kill-container', 'stall-agent']))).toEqual(['faults-hit']);
    expect(messages(day(1, ['kill-container']))).toBe(
      '1 of 2 faults have hit something; not so kill-container',
    );
  });
});
