import type { Client } from '@temporalio/client';
import { describe, expect, it, vi } from 'vitest';
import { HeartbeatWatch } from '../../faults/heartbeat-watch.ts';

describe('the watch over heartbeats', () => {
  it('knows when nothing was heard of a node, be the server away or not', async () => {
    const start = Date.now();
    let beat: number | undefined = start - 60_000;
    const watch = new HeartbeatWatch(() => Promise.resolve(serverWith(() => beat)), 'faults', ['n0']);
    try {
      await vi.waitFor(() => expect(watch.silences()).toHaveLength(1));
      beat = undefined;
      await vi.waitFor(() => expect(asked).toBeGreaterThan(2), { timeout: 5_000 });
      beat = start;
      const [silence] = await vi.waitUntil(
        () => {
          const silences = watch.silences();
          return silences[0]?.to === start && silences;
        },
        { timeout: 5_000 },
      );
      expect(silence).toEqual({ node: 'n0', from: start - 60_000, to: start });
    } finally {
      watch.close();
    }
  });
});

let asked = 0;

/** Answers what `HeartbeatWatch` asks; with `undefined` it is away. */
function serverWith(beat: () => number | undefined): Client {
  const describeWorkflowExecution = ({ execution }: { execution: { workflowId: string } }) => {
    asked += 1;
    const at = beat();
    if (at === undefined || execution.workflowId !== 'node/faults/n0') return Promise.reject(new Error('14'));
    const lastHeartbeatTime = { seconds: Math.floor(at / 1_000), nanos: (at % 1_000) * 1e6 };
    return Promise.resolve({ pendingActivities: [{}, { lastHeartbeatTime }] });
  };
  return {
    options: { namespace: 'mcli' },
    workflowService: { describeWorkflowExecution },
    withDeadline: (_: number, ask: () => Promise<unknown>) => ask(),
  } as unknown as Client;
}
