import { describe, expect, it } from 'vitest';
import { dockerFaults, silencesOf, wasOutOfReach } from '../../faults/outages.ts';
import { aDay, aFault } from './evidence.ts';

describe('silences of a node', () => {
  it('are the times without a heartbeat that are long enough, in whatever order they are told', () => {
    const beats = [1_000, 2_000, 20_000, 9_000, 14_000];
    expect(silencesOf('n0', beats, 30_000)).toEqual([
      { node: 'n0', from: 2_000, to: 9_000 },
      { node: 'n0', from: 14_000, to: 20_000 },
      { node: 'n0', from: 20_000, to: 30_000 },
    ]);
    expect(silencesOf('n0', [], 30_000)).toEqual([]);
  });

  it('put those containers out of reach that live then, or have just ended', () => {
    const [life] = aDay().containers;
    const during = (from: number, to: number, node = 'n0') =>
      wasOutOfReach({ silences: [{ node, from, to }] }, life!);
    expect(during(500, 9_000)).toBe(true);
    expect(during(-9_000, 310)).toBe(true);
    expect(during(5_600, 12_000)).toBe(true);
    expect(during(5_800, 12_000)).toBe(false);
    expect(during(-9_000, 290)).toBe(false);
    expect(during(500, 9_000, 'n1')).toBe(false);
  });
});

describe('faults of Docker', () => {
  const found = (kind: Parameters<typeof aFault>[0], change: object, node = 'n0') =>
    dockerFaults({ faults: [aFault(kind, change)] }, node, { from: 5_000, to: 6_000 }).length === 1;

  it.each([
    ['kill-dockerd', { at: 5_500 }, true],
    ['kill-dockerd', { at: 6_900 }, true],
    ['kill-dockerd', { at: 7_100 }, false],
    ['kill-dockerd', { at: 1_000, wellAt: 4_100 }, true],
    ['kill-dockerd', { at: 1_000, wellAt: 3_900 }, false],
    ['kill-dockerd', { at: 1_000, dockerWellAt: 2_000, wellAt: 9_000 }, false],
    ['kill-dockerd', { at: 1_000, wellAt: undefined }, true],
    ['kill-dockerd', { at: 5_500, target: 'n1' }, false],
    ['kill-everything', { at: 5_500, target: 'everything' }, true],
    ['fill-disk', { at: 5_500 }, true],
    ['kill-agent', { at: 5_500 }, false],
    ['kill-container', { at: 5_500 }, false],
  ] as const)('are found near a time: %s %o', (kind, change, expected) => {
    expect(found(kind, change)).toBe(expected);
  });
});
