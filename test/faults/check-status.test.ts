import { describe, expect, it } from 'vitest';
import type { ContainerLife, Evidence, Fault } from '../../faults/evidence.ts';
import type { Program } from '../../faults/program.ts';
import { aDay, aFault, COUNTS_TO_FIVE, ENDLESS, withoutExit } from './evidence.ts';
import { messages, objections } from './objections.ts';

const RANK_FAILS: Program = { ...COUNTS_TO_FIVE, end: { type: 'rank-fails', rank: 1, code: 3 } };
const failed = { status: 'FAILED', reason: 'NonZeroExit', exitCode: 3 };
const gang = (wish: Parameters<typeof aDay>[0] = {}) => aDay({ resumptions: [['n0', 'n1']], ...wish });

/** Without the containers of which `keep` makes nothing, and without their logs. */
function withLives(evidence: Evidence, keep: (life: ContainerLife) => ContainerLife | undefined): Evidence {
  const containers = evidence.containers.flatMap((life) => keep(life) ?? []);
  const ranks = new Set(containers.map(({ rank }) => rank));
  return { ...evidence, containers, logs: evidence.logs.filter(({ rank }) => ranks.has(rank)) };
}

describe('a run that ended by itself', () => {
  it('has had a container for every rank', () => {
    expect(objections(withLives(aDay(), () => undefined))).toEqual(['right-status']);
    expect(objections({ ...withLives(aDay(), () => undefined), leases: [] })).toEqual(['right-status']);
    const half = withLives(gang(), (life) => (life.rank === 0 ? life : undefined));
    expect(objections(half)).toEqual(['right-status']);
    expect(messages(half)).toBe('rank 1 of its last resumption never had a container');
  });

  it('has had them in its last resumption', () => {
    const day = aDay({
      resumptions: [['n0'], ['n1']],
      faults: [aFault('kill-container', { container: 'container-0-0' })],
    });
    const first = withLives(day, (life) => (life.resumption === 0 ? { ...life, exitCode: 137 } : undefined));
    expect(objections({ ...first, logs: first.logs.slice(0, 1) })).toContain('right-status');
  });

  it.each([137, 1])('has not done so when its container ended with exit code %i', (exitCode) => {
    expect(objections(withLives(aDay(), (life) => ({ ...life, exitCode })))).toEqual(['right-status']);
    const half = withLives(gang(), (life) => (life.rank === 1 ? { ...life, exitCode } : life));
    expect(objections(half)).toEqual(['right-status']);
  });

  it('has been seen to end, but for what a fault of Docker may hide', () => {
    const unseen = (at: number, target = 'n0') =>
      withLives(aDay({ faults: [aFault('kill-dockerd', { at, target })] }), withoutExit);
    expect(objections(withLives(aDay(), withoutExit))).toEqual(['right-status']);
    expect(objections(unseen(600))).toEqual([]);
    expect(objections(unseen(1_800))).toEqual(['right-status']);
    expect(objections(unseen(600, 'n1'))).toEqual(['right-status']);
  });

  it('may have ranks that would never have ended, when another has failed', () => {
    const day = gang({ program: RANK_FAILS, end: failed });
    expect(
      objections(withLives(day, (life) => (life.rank === 0 ? { ...life, exitCode: 143 } : life))),
    ).toEqual([]);
    expect(objections(withLives(day, (life) => (life.rank === 1 ? life : undefined)))).toEqual([]);
    expect(objections(withLives(day, (life) => (life.rank === 0 ? life : undefined)))).toContain(
      'right-status',
    );
  });
});

describe('a run whose time is over', () => {
  const over = (faults: readonly Fault[] = [], resumptions = [['n0']]) =>
    withLives(
      aDay({
        resumptions,
        program: ENDLESS,
        order: { hasTimeLimit: true },
        end: { status: 'STOPPED', reason: 'MaxDuration' },
        faults,
      }),
      () => undefined,
    );

  it('has had a container, unless a fault has hindered it', () => {
    expect(objections(over())).toEqual(['right-status']);
    expect(objections(over([aFault('kill-agent', { at: 200 })]))).toEqual([]);
    expect(objections(over([aFault('kill-agent', { at: 950 })]))).toEqual(['right-status']);
    expect(objections(over([aFault('kill-agent', { at: -3_000, wellAt: -1_000 })]))).toEqual([
      'right-status',
    ]);
  });

  it('may have had to leave its place before that, if there was a reason', () => {
    const twice = over([], [['n0'], ['n0']]);
    expect(objections({ ...twice, leases: twice.leases.slice(0, 1) })).toEqual(['goes-on']);
    expect(objections({ ...twice, leases: twice.leases.slice(1) })).toContain('right-status');
  });

  it('has had capacity', () => {
    expect(objections({ ...over([aFault('kill-agent', { at: 200 })]), leases: [] })).toEqual([
      'right-status',
    ]);
  });
});
