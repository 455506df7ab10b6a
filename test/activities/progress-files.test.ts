import { execFile } from 'node:child_process';
import {
  appendFile,
  mkdtemp,
  open,
  readdir,
  rm,
  stat,
  symlink,
  truncate,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { containerConfig } from '../../activities/container-config.ts';
import { createProgressFiles } from '../../activities/progress-files.ts';
import type { ProgressReader } from '../../activities/progress-files.ts';
import { containerName } from '../../core/naming.ts';
import { aRank, aRankToRun, docker, SETTINGS } from '../support/docker.ts';

const RANK = { run: 'run-abc123', resumption: 0, rank: 0 };
let folder: string;
/** Where this machine has what the container sees. */
let file: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mcli-test-progress-'));
  const { mounts, environment } = await createProgressFiles(folder).additions(RANK);
  const [mount] = mounts;
  if (!mount) throw new Error('nothing is mounted');
  file = (environment['MCLI_PROGRESS_FILE'] as string).replace(mount.target, mount.source);
});
afterEach(() => rm(folder, { recursive: true }));

const reader = (from = 0): ProgressReader => createProgressFiles(folder).reader(RANK, from);

/** Steps of the reports that came, with what is wrong with others. */
async function read(from: ProgressReader, last = false) {
  const steps: (number | undefined)[] = [];
  const problems: string[] = [];
  for await (const lines of from.read(last)) {
    for (const { step } of lines.reports) steps.push(step);
    if (lines.problem !== undefined) problems.push(lines.problem);
  }
  return { steps, problems };
}

it('is there before the run is, and anybody in the container may write it', async () => {
  expect((await stat(file)).mode & 0o777).toBe(0o666);
  expect((await stat(join(file, '..'))).mode & 0o777).toBe(0o700);
  await createProgressFiles(folder).remove(RANK);
  await expect(stat(join(file, '..'))).rejects.toThrow('ENOENT');
});

it('is read line by line, as lines become whole', async () => {
  const reading = reader();
  expect(await read(reading)).toEqual({ steps: [], problems: [] });
  await appendFile(file, '{"step":1}\n{"step":2}\n{"st');
  expect(await read(reading)).toEqual({ steps: [1, 2], problems: [] });
  expect(await read(reading)).toEqual({ steps: [], problems: [] });
  await appendFile(file, 'ep":3}\r\n\n{"step":4}');
  expect(await read(reading)).toEqual({ steps: [3], problems: [] });
  // The run has ended.
  expect(await read(reading, true)).toEqual({ steps: [4], problems: [] });
});

it('is read on from where an earlier agent was', async () => {
  const earlier = reader();
  await appendFile(file, '{"step":1}\n{"step":2}\n{"st');
  await read(earlier);
  await appendFile(file, 'ep":3}\n');
  expect(await read(reader(earlier.position))).toEqual({ steps: [3], problems: [] });
});

it('may have lines that are no reports, and lines without end', async () => {
  await writeFile(file, `step 1\n{"step":2}\n${'x'.repeat(200_000)}\n{"step":3}\n`);
  expect(await read(reader())).toEqual({
    steps: [2, 3],
    problems: ['A line is not a JSON object.', 'A line is longer than 65536 bytes.'],
  });
});

it.each([9_999, 10_000, 10_001, 200_000])(
  'may have %i lines, the newest of which are read',
  async (length) => {
    const lines = Array.from({ length }, (_, step) => `{"step":${step}}\n`).join('');
    await writeFile(file, lines);
    const { steps, problems } = await read(reader(), true);
    expect(steps).toEqual(Array.from({ length: Math.min(length, 10_000) }, (_, at) => at + steps[0]!));
    expect(steps.at(-1)).toBe(length - 1);
    const tooMany = 'More than 10000 lines came at once: only the newest are read.';
    expect(problems).toEqual(length > 10_000 ? [tooMany] : []);
  },
);

it.each(['x', '{}', '{NaN', '{"step":1}'])('holds nobody up with 16 MiB of lines %s', async (line) => {
  await writeFile(file, `${line}\n`.repeat((16 * 1024 ** 2) / (line.length + 1)));
  const before = process.cpuUsage();
  await read(reader(), true);
  const { user } = process.cpuUsage(before);
  // Microseconds.
  expect(user).toBeLessThan(1_000_000);
});

it('may claim to be as long as a disk, and is read from its newest lines on', async () => {
  const reading = reader();
  await appendFile(file, '{"step":1}\n');
  await truncate(file, 2 ** 40);
  await appendFile(file, '\n{"step":2}\n');
  const { steps, problems } = await read(reading);
  expect(steps).toEqual([2]);
  expect(problems).toEqual(['More than 16777216 bytes came at once: only the newest are read.']);
  await truncate(file, 2 ** 41);
  expect((await read(reading, true)).steps).toEqual([]);
});

it('may be begun anew by the run', async () => {
  const reading = reader();
  await writeFile(file, '{"step":1}\n{"step":2}\n');
  await read(reading);
  await writeFile(file, '{"step":0}\n');
  expect(await read(reading)).toEqual({ steps: [0], problems: [] });
});

it('leads nowhere else', async () => {
  const secret = join(folder, 'secret');
  await writeFile(secret, '{"step":1}\n');
  await unlink(file);
  expect(await read(reader())).toEqual({ steps: [], problems: [] });
  await symlink(secret, file);
  expect(await read(reader())).toEqual({ steps: [], problems: [] });
});

it('is not even opened when it is no file: opening a device may do something', async () => {
  await unlink(file);
  await promisify(execFile)('mkfifo', [file]);
  let isOpened = false;
  const write = async (): Promise<void> => {
    // Waits for somebody who reads.
    const pipe = await open(file, 'w');
    isOpened = true;
    await pipe.close();
  };
  const writing = write();
  for (let i = 0; i < 20; i += 1) expect(await read(reader())).toEqual({ steps: [], problems: [] });
  expect(isOpened).toBe(false);
  const pipe = await open(file, 'r+');
  await writing;
  await pipe.close();
});

it('is all of this machine that a run can write, with whatever rights in its container', async () => {
  const rank = aRankToRun('');
  const additions = await createProgressFiles(folder).additions(rank);
  const config = containerConfig(rank, SETTINGS, false, additions);
  const script = [
    `echo '{"step":1}' >> $MCLI_PROGRESS_FILE`,
    'cd $(dirname $MCLI_PROGRESS_FILE) && mkdir more && touch more/of-root',
    '! rm $MCLI_PROGRESS_FILE && ! ln -sf /etc/passwd $MCLI_PROGRESS_FILE',
  ].join(' && ');
  await docker.create({ ...config, Cmd: ['bash', '-c', script] });
  await docker.start(containerName(rank));
  await docker.waitForExit(containerName(rank), AbortSignal.timeout(20_000));
  expect((await docker.inspect(containerName(rank)))?.exitCode).toBe(0);
  expect(await read(createProgressFiles(folder).reader(rank, 0))).toEqual({ steps: [1], problems: [] });
  expect(await readdir(join(folder, 'progress', containerName(rank)))).toEqual(['progress.jsonl']);
});

it('goes when its container has vanished', async () => {
  const files = createProgressFiles(folder);
  const [old, coming, living] = [aRank(''), aRank(''), aRank('')];
  const long = new Date(Date.now() - 3_600_000);
  for (const rank of [old, coming, living]) await files.additions(rank);
  for (const rank of [old, living]) await utimes(join(folder, 'progress', containerName(rank)), long, long);
  await files.sweep((container) => Promise.resolve(container === containerName(living)));
  const left = await readdir(join(folder, 'progress'));
  expect(left.toSorted()).toEqual([RANK, coming, living].map(containerName).toSorted());
});
