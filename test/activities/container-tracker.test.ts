import { execFile } from 'node:child_process';
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createContainerTracker } from '../../activities/container-tracker.ts';
import type { RankExecution } from '../../activities/contract.ts';
import { containerName } from '../../core/naming.ts';
import type { RunSpec } from '../../core/run-spec.ts';
import { cometKey } from '../../core/tracking.ts';
import type { RunEnd, TrackerEntry } from '../../core/tracking.ts';
import { anAgent, anAttempt, aRankToRun, containerOf, docker, shutDown } from '../support/docker.ts';
import { endedRun } from '../support/ended-run.ts';
import { useNats } from '../support/nats.ts';
import { installPythonPackages } from '../support/python-packages.ts';
import { buildFrom, removeImages } from '../support/registry.ts';

const nats = useNats();
let packages: string;
/** What a run may write to, and the test reads. */
let storage: string;
/** Of runs whose details the node can ask for. */
const ranks: RankExecution[] = [];

beforeAll(async () => {
  packages = await installPythonPackages('tracker-clients-requirements.txt', 'mcli/starter');
  await chmod(packages, 0o755);
  storage = await mkdtemp(path.join(tmpdir(), 'mcli-test-trackers-'));
});
afterAll(() => rm(storage, { recursive: true, force: true }));

const END: RunEnd = { status: 'FAILED', reason: 'NonZeroExit', message: 'It failed.', exitCode: 3 };

/** Of the runs here, as the node knows them. */
const SECRETS = ['local-key-0123456789'];

function agent({ limitMs, secrets = SECRETS, mayStart = async () => undefined }: Told = {}) {
  const additionsFor = async () => ({
    mounts: [
      { source: packages, target: '/packages', readOnly: true },
      { source: storage, target: '/storage', readOnly: false },
    ],
    environment: {},
  });
  const runDetails = (run: string) =>
    Promise.resolve(ranks.filter((rank) => rank.run === run).map((rank) => endedRun(rank))[0]);
  return {
    ...anAgent(nats.connection, {}, { additionsFor }),
    ...createContainerTracker({
      docker,
      runDetails,
      secretsOf: () => Promise.resolve(secrets ?? undefined),
      mayStart,
      ...(limitMs !== undefined && { limitMs }),
    }),
  };
}

interface Told {
  readonly limitMs?: number;
  /** Null when nobody can tell them any more. */
  readonly secrets?: readonly string[] | null;
  readonly mayStart?: Parameters<typeof createContainerTracker>[0]['mayStart'];
}

function aTrackedRank(command: string, spec: Partial<RunSpec>): RankExecution {
  const rank = aRankToRun(command, { parametersYaml: 'lr: 1.0e-4\nmodel: {layers: 2}\n', ...spec });
  ranks.push(rank);
  return rank;
}

function tell(rank: RankExecution, told?: Told): Promise<readonly TrackerEntry[]> {
  return anAttempt().run(agent(told)['report-in-container'], { ...rank, end: END });
}

it('adds to what the run has logged itself with wandb and comet_ml how it has ended, in the same entries', async () => {
  const rank = aTrackedRank(
    `python3 - <<'END'
import wandb
run = wandb.init()
run.log({"loss": 0.75})
run.finish()
import comet_ml
experiment = comet_ml.start()
experiment.log_metric("loss", 0.75)
experiment.end()
END
exit 3`,
    {
      metadata: { team: 'vision' },
      integrations: [
        { type: 'wandb', environment: { WANDB_PROJECT: 'llama', WANDB_ENTITY: 'team' } },
        { type: 'comet_ml', environment: { COMET_PROJECT_NAME: 'llama' } },
      ],
      envVariables: {
        PYTHONPATH: '/packages',
        WANDB_MODE: 'offline',
        WANDB_DIR: '/storage',
        COMET_START_ONLINE: 'false',
        COMET_OFFLINE_DIRECTORY: '/storage/comet',
      },
    },
  );
  expect(await anAttempt().run(agent().execute, rank)).toMatchObject({ exitCode: 3, end: 'itself' });
  expect(await tell(rank)).toEqual([{ tracker: 'wandb' }, { tracker: 'comet_ml' }]);

  // One folder of the program's, one of the report's, both of one run.
  const wandb = (await readdir(path.join(storage, 'wandb'))).filter((name) =>
    name.startsWith('offline-run-'),
  );
  expect(wandb.map((name) => name.replace(/^.*?-\d+_\d+-/, ''))).toEqual([rank.run, rank.run]);
  const folder = path.join(storage, 'wandb', wandb.toSorted()[1] ?? '');
  expect(await readFile(path.join(folder, 'files/mcli-run.yaml'), 'utf8')).toContain('# as submitted');
  const records = await wandbRecords(path.join(folder, `run-${rank.run}.wandb`));
  expect(records).toMatchObject({
    run: { run_id: rank.run, project: 'llama', entity: 'team', display_name: rank.run, resume: true },
    config: { parameters: { lr: 0.0001, model: { layers: 2 } } },
    summary: {
      loss: 0.5,
      mcli: { status: 'FAILED', gpus: '16', message: 'It failed.', 'link.status': 'https://s.example' },
    },
    exit: { exit_code: 3 },
  });

  const archives = await readdir(path.join(storage, 'comet'));
  expect(archives.map((name) => name.split('-')[0])).toEqual([cometKey(rank.run), cometKey(rank.run)]);
  const messages = (
    await Promise.all(archives.map((name) => cometMessages(path.join(storage, 'comet', name))))
  ).flat();
  expect(messages).toContainEqual(expect.objectContaining({ key: 'Name', value: rank.run }));
  expect(messages).toContainEqual(expect.objectContaining({ key: 'mcli.status', value: 'FAILED' }));
  const team = { key: 'mcli.metadata.team', value: 'vision' };
  expect(messages).toContainEqual(expect.objectContaining(team));
  const metrics = messages.flatMap(({ metric }) => (metric ? [[metric.metricName, metric.step]] : []));
  expect(metrics).toEqual(
    expect.arrayContaining([
      ['loss', 20],
      ['eval', 10],
    ]),
  );
  const parameters = messages.flatMap(({ param }) => (param ? [[param.paramName, param.paramValue]] : []));
  expect(parameters).toContainEqual(['parameters_lr', 0.0001]);
});

it('says what is missing in the image, and gives up on a library that does not end', async () => {
  const wandb = { type: 'wandb', environment: { WANDB_PROJECT: 'llama' } } as const;
  const rank = aTrackedRank('true', { integrations: [wandb] });
  expect(await tell(rank)).toEqual([{ tracker: 'wandb', problem: 'The container did not run, or is gone.' }]);
  await anAttempt().run(agent().execute, rank);
  expect(await tell(rank)).toEqual([{ tracker: 'wandb', problem: 'The image has no Python package wandb.' }]);

  const bare = aTrackedRank('rm $(type -ap python3 python)', { integrations: [wandb] });
  await anAttempt().run(agent().execute, bare);
  expect(await tell(bare)).toEqual([{ tracker: 'wandb', problem: 'The image has no Python.' }]);

  const endless = aTrackedRank(
    'mkdir /lib-that-hangs; echo "import time; time.sleep(99)" > /lib-that-hangs/wandb.py',
    {
      integrations: [wandb],
      envVariables: { PYTHONPATH: '/lib-that-hangs' },
    },
  );
  await anAttempt().run(agent().execute, endless);
  expect(await tell(endless, { limitMs: 1_500 })).toEqual([
    { tracker: 'wandb', problem: 'Its library was not done within 1.5 s.' },
  ]);
  expect((await containerOf(endless))?.status).toBe('exited');
});

it('starts nothing while the node may start nothing, nor when it is wanted no more', async () => {
  const rank = aTrackedRank('true', { integrations: [{ type: 'wandb', environment: {} }] });
  await anAttempt().run(agent().execute, rank);
  const before = await containerOf(rank);
  const attempt = anAttempt();
  const mayStart = Promise.withResolvers<void>();
  const isAsked = Promise.withResolvers<void>();
  const { 'report-in-container': report } = agent({
    mayStart() {
      isAsked.resolve();
      return mayStart.promise;
    },
  });
  const outcome = attempt.run(report, { ...rank, end: END }).catch((error: unknown) => error);
  await isAsked.promise;
  shutDown(attempt);
  mayStart.resolve();
  expect(await outcome).toMatchObject({ type: 'AgentDetached' });
  expect((await containerOf(rank))?.startedAt).toBe(before?.startedAt);
});

/** A program that puts a library of this name before the real one. */
const library = (name: string, python: string): string =>
  `mkdir -p /libs; cat > /libs/${name}.py <<'END'\n${python}\nEND\n`;

it('says how a library ended the program, by its own exit or at once', async () => {
  const comet = library('comet_ml', 'raise SystemExit("no key")');
  const rank = aTrackedRank(comet + library('wandb', 'import os\nos._exit(7)'), {
    integrations: [
      { type: 'comet_ml', environment: {} },
      { type: 'wandb', environment: {} },
    ],
    envVariables: { PYTHONPATH: '/libs' },
  });
  await anAttempt().run(agent().execute, rank);
  expect(await tell(rank)).toEqual([
    { tracker: 'comet_ml', problem: 'SystemExit: no key' },
    { tracker: 'wandb', problem: 'Its library ended with exit code 7 and without a word.' },
  ]);
});

it('hears the libraries of an image whose user may write nowhere', async () => {
  const image = 'mcli-test/tracker-nobody:1';
  await buildFrom('mcli/starter', image, 'USER nobody');
  try {
    const wandb = { type: 'wandb', environment: {} } as const;
    const envVariables = { PYTHONPATH: '/packages', WANDB_MODE: 'offline' };
    const rank = aTrackedRank('true', { image, integrations: [wandb], envVariables });
    await anAttempt().run(agent().execute, rank);
    expect(await tell(rank)).toEqual([{ tracker: 'wandb' }]);
    await docker.remove(containerName(rank));
  } finally {
    await removeImages([image]);
  }
});

it('shows no secrets of what a library says, no control characters, and no more than a few lines', async () => {
  const wandb = library(
    'wandb',
    `raise ValueError("refused \\x1b[31m${SECRETS[0]}\\x07 " + "x" * 480 + "${SECRETS[0]}" + "y" * 900)`,
  );
  const comet = library(
    'comet_ml',
    `
class Experiment:
    url = "https://comet.example/?key=${SECRETS[0]}"
    def __getattr__(self, name): return lambda *args, **more: None
def start(**_): return Experiment()
def ExperimentConfig(**_): pass`,
  );
  const rank = aTrackedRank(wandb + comet, {
    integrations: [
      { type: 'wandb', environment: {} },
      { type: 'comet_ml', environment: {} },
    ],
    envVariables: { PYTHONPATH: '/libs' },
  });
  await anAttempt().run(agent().execute, rank);
  const [ofWandb, ofComet] = await tell(rank);
  const start = 'ValueError: refused  [31m***  ';
  expect(ofWandb).toEqual({ tracker: 'wandb', problem: `${start}${'x'.repeat(480)}***`.slice(0, 500) });
  expect(ofComet).toEqual({ tracker: 'comet_ml' });
  expect((await tell(rank, { secrets: null }))[0]?.problem).toMatch(/^What its library said is not shown/);
});

/** Of an offline run: the last record of each kind, with the updates of configuration and summary in one. */
async function wandbRecords(file: string): Promise<Record<string, unknown>> {
  const program = `
import json, struct, sys
from google.protobuf.json_format import MessageToDict
from wandb.proto import wandb_internal_pb2 as pb

data, at, part, found = open(sys.argv[1], "rb").read(), 7, b"", {"config": {}, "summary": {}}
while at + 7 <= len(data):
    if 32768 - at % 32768 < 7:
        at += 32768 - at % 32768
        continue
    _, size, kind = struct.unpack_from("<IHB", data, at)
    part += data[at + 7 : at + 7 + size]
    at += 7 + size
    if kind not in (1, 4):
        continue
    record, part = pb.Record.FromString(part), b""
    name = record.WhichOneof("record_type")
    value = getattr(record, name)
    if name in ("config", "summary"):
        found[name].update({each.key: json.loads(each.value_json) for each in value.update if each.key})
    else:
        found[name] = MessageToDict(value, preserving_proto_field_name=True)
print(json.dumps(found))
`;
  return JSON.parse(await python(program, file)) as Record<string, unknown>;
}

interface CometMessage {
  readonly key?: string;
  readonly value?: unknown;
  readonly metric?: { readonly metricName: string; readonly step?: number };
  readonly param?: { readonly paramName: string; readonly paramValue: unknown };
}

async function cometMessages(archive: string): Promise<CometMessage[]> {
  const program = 'import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).read("messages.json").decode())';
  const lines = (await python(program, archive)).trim().split('\n');
  return lines.map((line) => (JSON.parse(line) as { payload: CometMessage }).payload);
}

/** With the Python of the image, since the packages are for that. */
async function python(program: string, file: string): Promise<string> {
  const mounts = [
    '-v',
    `${packages}:/packages:ro`,
    '-v',
    `${storage}:${storage}:ro`,
    '-e',
    'PYTHONPATH=/packages',
  ];
  const command = ['run', '--rm', ...mounts, 'mcli/starter', 'python3', '-c', program, file];
  return (await promisify(execFile)('docker', command)).stdout;
}
