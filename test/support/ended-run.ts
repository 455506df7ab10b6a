/** A run of 16 GPUs that has failed, for tests of what trackers are told. */
import type { RankExecution } from '../../activities/contract.ts';
import type { RunDetails } from '../../client/run-history.ts';

export const STARTED = Date.parse('2026-05-01T10:00:00Z');
export const ENDED = STARTED + 90_000;

/** How the run stands after its end; the agent reads this from the history. */
export function endedRun(rank: RankExecution, trackers?: RunDetails['trackers']): RunDetails {
  const { spec, user, graceMs, run } = rank;
  const measured = { last: 1, mean: 50, max: 100 };
  return {
    name: run,
    input: { spec, user, graceMs, submittedYaml: 'name: llama # as submitted\n' },
    resources: { cluster: 'c1', gpuType: 'h100', gpus: 16, nodes: 2, gpusPerNode: 8, nodeNames: [] },
    scheduling: spec.scheduling,
    createdAt: new Date(STARTED - 1_000),
    startedAt: new Date(STARTED),
    endedAt: new Date(ENDED),
    status: 'FAILED',
    reason: 'NonZeroExit',
    message: 'The command ended with exit code 3.',
    exitCode: 3,
    failure: 'NonZeroExit',
    resumption: 1,
    nodes: ['n1', 'n2'],
    lifecycle: [],
    reports: [
      {
        rank: 0,
        node: 'n1',
        progress: {
          step: 20,
          stepAt: ENDED - 0.25,
          metrics: { loss: 0.5, 'acc@1': null, eval: 0.9 },
          // The names of mcli's own facts are free.
          links: { run: 'https://r.example', status: 'https://s.example' },
          // As agents of before have it, without the others.
          measured: { eval: { step: 10, at: STARTED } },
        },
        usage: {
          at: ENDED,
          samples: 2,
          cpuPercent: measured,
          memoryBytes: measured,
          memoryLimitBytes: 9,
          gpus: [],
        },
      },
    ],
    ...(trackers && { trackers }),
    trackerReports: [],
    closed: true,
    rejected: false,
  };
}
