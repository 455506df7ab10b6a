import { describe, expect, it } from 'vitest';
import { check } from '../../faults/check.ts';
import type { Evidence } from '../../faults/evidence.ts';
import { makeReport, renderReport } from '../../faults/report.ts';
import { timelineOf } from '../../faults/timeline.ts';
import { aCut, aDay, aFault, aLoss, RUN } from './evidence.ts';

const reportOf = (evidence: Evidence): string =>
  renderReport(makeReport(evidence, check(evidence), 60), evidence);
const NOWHERE = { executions: [], containers: [], leases: [], logs: [] };

describe('the report', () => {
  it('says loudly what nobody could look at', () => {
    const text = reportOf(aDay());
    expect(text).toContain(
      '! NOT PROVEN, since there was nothing to look at: a run whose container was killed',
    );
    expect(text).not.toContain('nothing to look at: every run that mcli accepted');
    expect(text).toContain('✔ Seed 1: nothing lost, nothing doubled.');
  });

  it('says why runs have begun again', () => {
    expect(reportOf(aDay({ resumptions: [['n0'], ['n1']], faults: [aCut()], ...aLoss() }))).toContain(
      'Further resumptions: 1; why: 1 node lost',
    );
    expect(reportOf(aDay())).toContain('Further resumptions: 0\n');
  });

  it('names the faults that found nothing to hit', () => {
    const day = { ...aDay({ faults: [aFault('kill-agent')] }), skipped: ['kill-container' as const] };
    expect(reportOf(day)).toContain('! Found nothing to hit: kill-container');
    expect(reportOf(aDay())).not.toContain('Found nothing');
  });

  it('tells each violation with what happened to its run', () => {
    const text = reportOf({ ...aDay({ faults: [aFault('kill-agent')] }), logs: [] });
    expect(text).toContain(`✗ ${RUN}\n  every line that was printed is in the log`);
    expect(text).toContain('container 0.0 on n0 started');
    expect(text).toContain('✗ Seed 1: 1 violation.');
  });
});

describe('the timeline', () => {
  it('tells what happened to a run in order of time', () => {
    const day = aDay({ faults: [aFault('kill-agent')] });
    expect(timelineOf(day, RUN)).toEqual([
      '    0.000  submitted (execution-1)',
      '    0.000  status QUEUED, resumption 0',
      '    0.100  lease 1 of resumption 0 granted: n0[0]',
      '    0.200  status STARTING, resumption 0',
      '    0.300  container 0.0 on n0 started (container-0-)',
      '    0.400  status RUNNING, resumption 0',
      '    0.500  FAULT kill-agent n0',
      '    0.600  status TERMINATING, resumption 0',
      '    0.700  container 0.0 on n0 ended, exit code 0, 5 lines seen',
      '    0.800  status COMPLETED, resumption 0',
      '    0.900  lease 1 of resumption 0 given back',
      '    1.000  closed: ended COMPLETED',
      '    1.500  well again: kill-agent n0',
    ]);
  });

  it('tells when nothing was heard of nodes, and when they were given up', () => {
    const lines = timelineOf(
      aDay({ resumptions: [['n0'], ['n1']], faults: [aCut()], ...aLoss({ from: -4_000 }) }),
      RUN,
    );
    expect(lines).toContain('   -4.000  nothing heard of n0 for 6.0 s from here on');
    expect(lines).toContain('    0.550  n0 given up');
  });

  it('tells of all faults where a run is nowhere', () => {
    const faults = [
      aFault('kill-temporal', { target: 'temporal', at: 4_000 }),
      aFault('kill-agent', { at: 90_000 }),
    ];
    expect(timelineOf({ ...aDay({ faults }), ...NOWHERE }, RUN)).toEqual([
      '    0.000  FAULT kill-temporal temporal',
      '    1.000  well again: kill-temporal temporal',
      '   86.000  FAULT kill-agent n0',
      '   87.000  well again: kill-agent n0',
    ]);
  });
});
