import { describe, expect, it } from 'vitest';
import { isTerminal, RUN_STATUSES, STATUS_TRANSITIONS } from '../../core/run-status.ts';
import type { RunStatus } from '../../core/run-status.ts';

const next = (status: RunStatus): readonly RunStatus[] => STATUS_TRANSITIONS[status];

function reachable(from: RunStatus): Set<RunStatus> {
  const seen = new Set<RunStatus>([from]);
  for (const status of seen) for (const other of next(status)) seen.add(other);
  return seen;
}

describe('the moves between statuses', () => {
  it('lead from everywhere to an end, and from an end nowhere', () => {
    for (const status of RUN_STATUSES) {
      if (isTerminal(status)) expect(next(status), status).toEqual([]);
      else expect([...reachable(status)].some(isTerminal), status).toBe(true);
    }
  });

  it('lead from PENDING to every other status', () => {
    expect(reachable('PENDING')).toEqual(new Set(RUN_STATUSES));
  });

  it('let a run that holds capacity end only by way of TERMINATING, where its containers go', () => {
    for (const status of ['STARTING', 'RUNNING'] as const) {
      expect(next(status).filter(isTerminal), status).toEqual([]);
      expect(next(status), status).toContain('TERMINATING');
    }
  });

  it('lead back to the queue from TERMINATING only', () => {
    const back = RUN_STATUSES.filter((status) => next(status).includes('QUEUED'));
    expect(back).toEqual(['PENDING', 'TERMINATING']);
  });
});
