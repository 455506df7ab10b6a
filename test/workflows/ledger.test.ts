import { describe, expect, it } from 'vitest';
import type { CapacityRequest, Lease, NodeInventory } from '../../core/cluster.ts';
import { emptyCluster } from '../../core/cluster-state.ts';
import { Ledger } from '../../workflows/ledger.ts';
import * as clusters from '../support/clusters.ts';

const NO_TIMER = { isTimerSet: false, isSweepDue: false };

describe('a cluster that has lost its memory', () => {
  it('gives nothing out before all runs have told what they hold', () => {
    const ledger = forgetful();
    ledger.report({ type: 'joined', inventory: aNode('n0') });
    ledger.expect(['holder', 'other']);
    ledger.request(aRequest('waits'));
    ledger.request(aRequest('holder'), aLease('holder', 'n0', 5));
    expect(ledger.roundStart(NO_TIMER)).toMatchObject({ isIdle: false });
    expect(ledger.roundStart(NO_TIMER).cluster).toBeUndefined();
    ledger.release({ run: 'other', resumption: 0, ranToEnd: false });
    expect(ledger.roundStart(NO_TIMER).cluster).toBeDefined();
  });

  it('does not wait for runs that told it before it knew of them', () => {
    const ledger = forgetful();
    ledger.request(aRequest('early'));
    ledger.expect(['early']);
    expect(ledger.roundStart(NO_TIMER).cluster).toBeDefined();
  });

  it('does not wait for ever for a run that is stuck, and still does in its next execution', () => {
    let ledger = forgetful();
    ledger.expect(['stuck']);
    ledger.request(aRequest('waits'));
    for (let sweep = 0; sweep < 3; sweep += 1) ledger.sweep([]);
    ledger = new Ledger(ledger.state());
    expect(ledger.roundStart(NO_TIMER).cluster).toBeUndefined();
    for (let sweep = 0; sweep < 4; sweep += 1) ledger.sweep([]);
    expect(ledger.roundStart(NO_TIMER).cluster).toBeDefined();
  });

  it('takes GPUs that were given out twice back from whoever got them last', () => {
    const ledger = forgetful();
    ledger.report({ type: 'joined', inventory: aNode('n0') });
    ledger.request(aRequest('late'), aLease('late', 'n0', 9));
    ledger.request(aRequest('holder'), aLease('holder', 'n0', 5));
    expect(revocations(ledger)).toMatchObject([{ run: 'late', type: 'Preempted' }]);
  });

  it('tells runs of the loss of a node that it was never told of', () => {
    const ledger = forgetful();
    ledger.request(aRequest('holder'), aLease('holder', 'gone', 5));
    ledger.report({ type: 'deleted', node: 'gone' });
    expect(revocations(ledger)).toMatchObject([{ run: 'holder', type: 'NodeLost', node: 'gone' }]);
  });

  it('tells runs how long a lost node may go on that it did not know', () => {
    const ledger = forgetful();
    ledger.request(aRequest('holder'), aLease('holder', 'gone', 5));
    ledger.report({ type: 'lost', node: 'gone', leaseMs: 20_000 });
    expect(revocations(ledger)).toMatchObject([{ run: 'holder', type: 'NodeLost', leaseMs: 20_000 }]);
  });

  it('leaves the runs of a lost node alone that never lets go of them, and that it did not know', () => {
    const ledger = forgetful();
    ledger.request(aRequest('holder'), aLease('holder', 'gone', 5));
    ledger.report({ type: 'lost', node: 'gone', leaseMs: null });
    expect(revocations(ledger)).toEqual([]);
  });

  it('tells a run of the loss of its node that comes to be known before it', () => {
    const ledger = forgetful();
    ledger.report({ type: 'joined', inventory: { ...aNode('gone'), leaseMs: 20_000 } });
    ledger.report({ type: 'lost', node: 'gone' });
    ledger.request(aRequest('holder'), aLease('holder', 'gone', 5));
    expect(revocations(ledger)).toMatchObject([{ run: 'holder', node: 'gone', leaseMs: 20_000 }]);
  });

  it('learns from the node that it was cordoned, and why', () => {
    const ledger = forgetful();
    ledger.report({ type: 'joined', inventory: aNode('n0'), cordon: { reason: 'fan' } });
    expect(ledger.allNodes()).toMatchObject([{ cordoned: true, cordonReason: 'fan' }]);
  });
});

describe('a cluster', () => {
  it('has a node remember that it was cordoned, opened and deleted', () => {
    const ledger = new Ledger(emptyCluster('c', 0));
    ledger.report({ type: 'joined', inventory: aNode('n0') });
    ledger.report({ type: 'cordoned', node: 'n0', reason: 'fan' });
    ledger.report({ type: 'uncordoned', node: 'n0' });
    ledger.report({ type: 'drained', node: 'n0' });
    ledger.report({ type: 'deleted', node: 'n0' });
    const orders = ledger.takeNotices().flatMap((notice) => (notice.type === 'node' ? [notice.order] : []));
    expect(orders).toMatchObject([
      { type: 'cordoned', reason: 'fan' },
      { type: 'uncordoned' },
      { type: 'cordoned' },
      { type: 'deleted' },
    ]);
  });

  it('opens a node again that its own workflow still takes for cordoned', () => {
    const ledger = new Ledger(emptyCluster('c', 0));
    ledger.report({ type: 'joined', inventory: aNode('n0') });
    ledger.report({ type: 'joined', inventory: aNode('n0'), cordon: {} });
    expect(ledger.allNodes()).toMatchObject([{ cordoned: false }]);
  });

  it('passes a request over that comes after its resumption was over', () => {
    const ledger = new Ledger(emptyCluster('c', 0));
    ledger.request(aRequest('a', { resumption: 1 }));
    ledger.request(aRequest('a'), aLease('a', 'n0', 5));
    expect(ledger.view().snapshot).toMatchObject({ queue: [{ resumption: 1 }], leases: [] });
  });

  it('frees what a lost run held after two sweeps, also when it continued as new in between', () => {
    const before = new Ledger(emptyCluster('c', 0));
    before.request(aRequest('gone'), aLease('gone', 'n0', 5));
    before.sweep(['gone']);
    const after = new Ledger(before.state());
    expect(after.runsToCheck().runs).toEqual(['gone']);
    after.sweep(['gone']);
    expect(after.isIdle()).toBe(true);
  });

  it('tells in its next execution what it had yet to tell', () => {
    const before = new Ledger(emptyCluster('c', 0));
    before.report({ type: 'joined', inventory: aNode('n0') });
    before.request(aRequest('a'));
    before.carryOut(
      { admissions: [{ run: 'a', resumption: 0, ranks: [{ node: 'n0', gpuIds: [0] }] }], preemptions: [] },
      0,
    );
    before.report({ type: 'lost', node: 'n0' });
    before.report({ type: 'cordoned', node: 'n0' });
    const after = new Ledger(before.carried());
    expect(after.hasNotices()).toBe(true);
    expect(after.takeNotices()).toEqual(before.takeNotices());
    expect(new Ledger(after.carried()).hasNotices()).toBe(false);
  });

  it('lets a run be that no longer gives way when its preemption was planned before', () => {
    const ledger = new Ledger(emptyCluster('c', 0));
    ledger.request(aRequest('a'), aLease('a', 'n0', 5));
    ledger.takeNotices();
    ledger.carryOut({ admissions: [], preemptions: [{ run: 'a', resumption: 0, inFavourOf: 'b' }] }, 0);
    expect(revocations(ledger)).toEqual([]);
  });
});

function forgetful(): Ledger {
  return new Ledger(emptyCluster('c', 0));
}

function revocations(ledger: Ledger) {
  return ledger.takeNotices().flatMap((notice) => (notice.type === 'revoked' ? [notice.revocation] : []));
}

function aNode(node: string): NodeInventory {
  return { node, gpuType: 'a100', gpus: 8, cpuSlots: 2, address: '10.0.0.1' };
}

/** Of a whole node. */
function aRequest(run: string, changes: Partial<CapacityRequest> = {}): CapacityRequest {
  return clusters.aRequest(run, { gpus: 8, ...changes });
}

function aLease(run: string, node: string, fence: number): Lease {
  return clusters.aLease(aRequest(run), node, 0, { fence });
}
