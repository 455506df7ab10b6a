import type { Client } from '@temporalio/client';
import { describe, expect, it } from 'vitest';
import type { FaultKind } from '../../faults/fault-kinds.ts';
import { Injector } from '../../faults/inject.ts';
import type { World } from '../../faults/world.ts';

/** A node that remembers what was done to it; its agent beats again at once. */
class FakeNode {
  readonly name: string;
  readonly done: string[] = [];
  readonly answers: Record<string, unknown[]>;
  readonly docker = {
    killContainer: (id: string) => Promise.resolve(this.does(`kill ${id}`, 'killed')),
  };

  constructor(name: string, answers: Record<string, unknown[]> = {}) {
    this.name = name;
    this.answers = answers;
  }

  signalAgent(signal: string): boolean {
    return this.does(signal, true);
  }

  freezeAgent(): boolean {
    return this.does('freeze', true);
  }

  thawAgent(): void {
    this.does('thaw', undefined);
  }

  cut(): void {
    this.does('cut', undefined);
  }

  mend(): void {
    this.does('mend', undefined);
  }

  private does<T>(what: string, usually: T): T {
    this.done.push(what);
    const answers = this.answers[what] ?? [];
    return answers.length > 0 ? (answers.shift() as T) : usually;
  }
}

const SERVER = {
  options: { namespace: 'mcli' },
  workflowService: {
    describeWorkflowExecution: () => {
      const lastHeartbeatTime = { seconds: Math.ceil(Date.now() / 1_000) + 1, nanos: 0 };
      return Promise.resolve({ pendingActivities: [{ lastHeartbeatTime }] });
    },
  },
  workflow: {
    getHandle: () => ({
      describe: () => Promise.resolve({ status: { name: 'COMPLETED' }, typedSearchAttributes: new Map() }),
    }),
  },
} as unknown as Client;

function worldOf(nodes: readonly FakeNode[], containers: readonly string[] = []): World {
  const alive = containers.map((id) => ({ id, run: 'a-000001', resumption: 0 }));
  return {
    stack: { client: () => Promise.resolve(SERVER) },
    nodes: nodes.map((node, index) => ({ node, watch: { alive: () => (index === 0 ? alive : []) } })),
  } as unknown as World;
}

const planned = (kind: FaultKind, lastsMs = 0, dice = 0) => ({ kind, atMs: 0, dice, lastsMs });
const SOON_MS = 250;
const storm = new AbortController().signal;
const silent = (): void => undefined;

describe('a fault', () => {
  it('is noted with its target, its times and its end', async () => {
    const node = new FakeNode('n0');
    const injector = new Injector(worldOf([node]), silent);
    const at = Date.now();
    await injector.inject(planned('stall-agent', 200), storm);
    expect(node.done).toEqual(['freeze', 'thaw']);
    const [fault] = injector.faults;
    expect(fault).toMatchObject({ kind: 'stall-agent', target: 'n0' });
    expect((fault?.mendedAt ?? 0) - at).toBeGreaterThanOrEqual(200);
    expect(fault?.wellAt).toBeGreaterThanOrEqual(fault?.mendedAt ?? Infinity);
  });

  it('that found nothing is tried again, and noted only when it hits', async () => {
    const node = new FakeNode('n0', { freeze: [false, false] });
    const injector = new Injector(worldOf([node]), silent);
    await injector.inject(planned('stall-agent'), storm);
    expect(node.done).toEqual(['freeze', 'freeze', 'freeze', 'thaw']);
    expect(injector.faults).toHaveLength(1);
    expect(injector.skipped).toEqual([]);
  });

  it('that never finds anything is told of', async () => {
    const injector = new Injector(worldOf([new FakeNode('n0')]), silent, SOON_MS);
    await injector.inject(planned('kill-container'), storm);
    expect(injector.faults).toEqual([]);
    expect(injector.skipped).toEqual(['kill-container']);
  });

  it('that comes too late is not missed', async () => {
    const injector = new Injector(worldOf([new FakeNode('n0')]), silent);
    await injector.inject(planned('kill-container'), AbortSignal.abort());
    expect([...injector.faults, ...injector.skipped]).toEqual([]);
  });

  it('goes to a node that is not disturbed already', async () => {
    const nodes = [new FakeNode('n0'), new FakeNode('n1')];
    const injector = new Injector(worldOf(nodes), silent, SOON_MS);
    const faults = ['cut-node', 'kill-agent', 'cut-node'] as const;
    await Promise.all(faults.map((kind) => injector.inject(planned(kind, 600), storm)));
    expect(injector.faults.map(({ kind, target }) => `${kind} ${target}`)).toEqual([
      'cut-node n0',
      'kill-agent n1',
      'cut-node n1',
    ]);
    await injector.inject(planned('kill-agent'), storm);
    expect(injector.faults.at(-1)?.target).toBe('n0');
  });

  it('finds nothing where all nodes are disturbed', async () => {
    const injector = new Injector(worldOf([new FakeNode('n0')]), silent, SOON_MS);
    await Promise.all([
      injector.inject(planned('cut-node', 600), storm),
      injector.inject(planned('stall-agent'), storm),
    ]);
    expect(injector.skipped).toEqual(['stall-agent']);
  });

  it('has killed a container only when Docker says so', async () => {
    const node = new FakeNode('n0', { 'kill c': ['not killed', 'not killed', 'killed'] });
    const injector = new Injector(worldOf([node], ['c']), silent);
    await injector.inject(planned('kill-container'), storm);
    expect(node.done).toEqual(['kill c', 'kill c', 'kill c']);
    expect(injector.faults).toMatchObject([{ target: 'a-000001', container: 'c', isUncertain: false }]);
  });

  it('may have killed a container of which Docker could not tell any more', async () => {
    const node = new FakeNode('n0', { 'kill c': ['unknown'] });
    const injector = new Injector(worldOf([node], ['c']), silent);
    await injector.inject(planned('kill-container'), storm);
    expect(injector.faults).toMatchObject([{ container: 'c', isUncertain: true }]);
  });
});
