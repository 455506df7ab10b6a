import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createContainerActivities } from '../../activities/container.ts';
import type { ContainerExit, RankExecution } from '../../activities/contract.ts';
import type { GpuMonitor } from '../../activities/gpu-monitor.ts';
import { createProgressFiles } from '../../activities/progress-files.ts';
import { createRankWatch } from '../../activities/rank-watch.ts';
import { containerName } from '../../core/naming.ts';
import type { RankRef } from '../../core/naming.ts';
import type { RankHeartbeat } from '../../core/rank-report.ts';
import { aRankToRun, docker, SETTINGS, shutDown, stop } from '../support/docker.ts';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mcli-test-watch-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** Each as busy as its number. */
const GPUS: Pick<GpuMonitor, 'usage'> = {
  usage: async () =>
    [0, 1, 2].map((gpu) => ({ gpu, utilizationPercent: 10 * gpu, memoryBytes: 1, memoryTotalBytes: 80 })),
};

const SECRET = 'sesame-open-123456';
/** As with an agent, they are known from when there is a container. */
const secretsOf = async (ref: RankRef) => ((await docker.inspect(containerName(ref))) ? [SECRET] : []);

/** One life of an agent that ships no logs. */
function anAgent() {
  const inventory = { ...SETTINGS.inventory, gpus: 8 };
  const progress = createProgressFiles(folder);
  return createContainerActivities({
    docker,
    logs: { follow: () => undefined, close: async () => undefined },
    settings: { ...SETTINGS, inventory },
    watch: createRankWatch({ docker, progress, secretsOf, gpus: GPUS }),
    additionsFor: (input) => progress.additions(input),
    cleanUp: (ref) => progress.remove(ref),
  });
}

/** One attempt, which goes on from the last heartbeat of another. */
function attempt(input: RankExecution, earlier?: RankHeartbeat) {
  const environment = new MockActivityEnvironment(
    { heartbeatDetails: earlier },
    { logger: new DefaultLogger('ERROR') },
  );
  let last: RankHeartbeat | undefined;
  environment.on('heartbeat', (details: RankHeartbeat) => (last = details));
  const outcome: Promise<ContainerExit> = environment.run(anAgent().execute, input);
  outcome.catch(() => undefined);
  return { environment, outcome, heartbeat: () => last };
}

/** Reports a step, and waits for the file `go` before each further one. */
const STEPS = `
report() { echo "{\\"step\\": $1, \\"total\\": 4, \\"metrics\\": {\\"loss\\": 0.$1}}" >> $MCLI_PROGRESS_FILE; }
report 1
until [ -e /go ]; do :; done
report 2
`;

async function go(input: RankExecution): Promise<void> {
  await docker.putFiles(containerName(input), [{ path: '/go', content: '' }]);
}

it('tells with heartbeats and at the end what a run reports and what it uses', async () => {
  const rank = aRankToRun(
    `${STEPS}\nsleep 0.1; printf '{"links": {"docs": "https://d.example"}}' >> $MCLI_PROGRESS_FILE; exit 3`,
  );
  const { outcome, heartbeat } = attempt(rank);
  await expect.poll(heartbeat, { timeout: 20_000 }).toMatchObject({
    rank: 0,
    node: 'test-node',
    progress: { step: 1, total: 4, metrics: { loss: 0.1 } },
    usage: { samples: 1 },
  });
  await go(rank);
  const { exitCode, progress, usage } = await outcome;
  expect(exitCode).toBe(3);
  expect(progress).toMatchObject({
    step: 2,
    total: 4,
    metrics: { loss: 0.2 },
    links: { docs: 'https://d.example' },
    since: { step: 1 },
  });
  // Its loop keeps one core busy, and waits for its turn like everybody.
  expect(usage?.cpuPercent.max).toBeGreaterThan(20);
  expect(usage?.cpuPercent.max).toBeLessThan(150);
  expect(usage?.memoryBytes.last).toBeGreaterThan(100_000);
  expect(usage?.memoryLimitBytes).toBe(SETTINGS.memoryBytes);

  expect(await readdir(join(folder, 'progress'))).toEqual([containerName(rank)]);
  await new MockActivityEnvironment().run(anAgent()['remove-container'], rank);
  expect(await readdir(join(folder, 'progress'))).toEqual([]);
});

it('tells nothing of the secrets that a run has', async () => {
  const report = String.raw`{\"links\": {\"docs\": \"https://d.example\", \"own\": \"https://ann:$MINE@d.example\"}}`;
  const rank = aRankToRun(`echo "${report}" >> $MCLI_PROGRESS_FILE`, { envVariables: { MINE: SECRET } });
  const { progress } = await attempt(rank).outcome;
  expect(progress?.links).toEqual({ docs: 'https://d.example' });
  expect(progress?.problem).toBe('The link own is not shown, since it holds the value of a secret.');
});

it('goes on where an agent was that is gone, and tells it also of a run that is stopped', async () => {
  const rank = aRankToRun(`${STEPS}\nsleep 60`, {}, { gpuIds: [2] });
  const first = attempt(rank);
  await expect
    .poll(first.heartbeat, { timeout: 20_000 })
    .toMatchObject({ progress: { step: 1 }, usage: { samples: 1 } });
  shutDown(first.environment);
  await expect(first.outcome).rejects.toThrow('let go of the container');

  const second = attempt(rank, first.heartbeat());
  await go(rank);
  await expect
    .poll(second.heartbeat, { timeout: 20_000 })
    .toMatchObject({ progress: { step: 2 }, usage: { samples: 2 } });
  expect(second.heartbeat()?.progress?.since).toEqual(first.heartbeat()?.progress?.since);
  stop(second.environment);
  await expect(second.outcome).rejects.toMatchObject({
    name: 'CancelledFailure',
    details: [
      { endedBy: 'SIGTERM' },
      {
        rank: 0,
        progress: { step: 2 },
        usage: { samples: 2, gpus: [{ gpu: 2, utilizationPercent: { max: 20 } }] },
      },
    ],
  });
});
