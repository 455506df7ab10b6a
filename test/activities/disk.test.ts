import { execFile } from 'node:child_process';
import { mkdtemp, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { createDiskKeeper, createDiskMeter } from '../../activities/disk.ts';
import { createImageActivities } from '../../activities/image.ts';
import { createImageLedger } from '../../activities/image-ledger.ts';
import type { ImageLedger } from '../../activities/image-ledger.ts';
import type { RankRef } from '../../core/naming.ts';
import { anAttempt, aRank, docker } from '../support/docker.ts';
import type { TestRegistry } from '../support/registry.ts';
import { loadImage, pushImage, removeImages, startRegistry } from '../support/registry.ts';

const NAMES = ['a', 'b', 'c'];
const FOREIGN_NAME = 'mcli-test/named-by-somebody:1';
let registry: TestRegistry;
let folder: string;
let container: string | undefined;

const image = (name: string): string => `${registry.address}/disk/${name}:1`;

beforeAll(async () => {
  registry = await startRegistry();
  for (const name of NAMES) await pushImage(image(name), 1000);
}, 60_000);
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mcli-test-disk-'));
  return async () => {
    if (container !== undefined) await docker.remove(container);
    container = undefined;
    await removeImages([...NAMES.map(image), FOREIGN_NAME]);
    await rm(folder, { recursive: true });
  };
});
afterAll(() => registry.dispose());

/** What an agent has that starts now. */
const aLedger = (): ImageLedger => createImageLedger({ docker, stateDirectory: folder });

/** Looks once at a disk that is as full as this: first, and after each removal. */
async function look(...usedPercent: number[]): Promise<void> {
  const measure = async () => ({
    usedPercent: usedPercent.length > 1 ? (usedPercent.shift() as number) : (usedPercent[0] as number),
    freeBytes: 0,
    totalBytes: 1,
    highPercent: 85,
  });
  await createDiskKeeper({ ledger: aLedger(), measure }).look();
}

async function download(name: string): Promise<string> {
  for await (const event of docker.pull(image(name), AbortSignal.timeout(30_000))) {
    if (event.error !== undefined) throw new Error(event.error);
  }
  return (await docker.image(image(name)))?.id as string;
}

/** Each step is that of another agent: what counts is in the file. */
async function pull(name: string): Promise<RankRef> {
  const ref = aRank('');
  await aLedger().expect(ref, image(name));
  await aLedger().arrived(ref, image(name), await download(name));
  return ref;
}

async function use(...names: string[]): Promise<void> {
  for (const name of names) await aLedger().released(await pull(name));
}

async function present(): Promise<string[]> {
  const found = await Promise.all(NAMES.map((name) => docker.image(image(name))));
  return NAMES.filter((_, index) => found[index]);
}

it('removes nothing below the mark', async () => {
  await use('a', 'b');
  await look(84.9);
  expect(await present()).toEqual(['a', 'b']);
});

it('removes what runs have not used for longest, until there is some room', async () => {
  await use('a', 'b', 'c', 'a');
  await look(90, 76, 74.9);
  expect(await present()).toEqual(['a']);
});

it('leaves an image that was there before the first run wanted it', async () => {
  await loadImage(image('a'), 1000);
  await pushImage(image('b'), 1000);
  await download('b');
  await use('b', 'c');
  await look(99);
  expect(await present()).toEqual(['a', 'b']);
});

it('leaves an image that a run needs, from before its pull to the end of its container', async () => {
  const [needed, running] = [await pull('a'), await pull('b')];
  // An agent was killed in the middle of this one.
  const interrupted = aRank('');
  await aLedger().expect(interrupted, image('c'));
  const id = await download('c');
  await look(99);
  expect(await present()).toEqual(['a', 'b', 'c']);

  await aLedger().expect(interrupted, image('c'));
  await aLedger().arrived(interrupted, image('c'), id);
  container = running.run;
  await docker.create({ name: container, Image: image('b'), Cmd: ['none'] });
  for (const ref of [needed, running, interrupted]) await aLedger().released(ref);
  await look(99);
  expect(await present()).toEqual(['b']);
});

it('removes also what a pull has brought whose run was stopped before anybody saw its end', async () => {
  const stopped = aRank('');
  await aLedger().expect(stopped, image('a'));
  await download('a');
  await aLedger().released(stopped);
  // Here before the pull, which has brought nothing.
  await download('b');
  await aLedger().expect(stopped, image('b'));
  await aLedger().released(stopped);
  await look(99);
  expect(await present()).toEqual(['b']);
});

it('leaves an image that somebody has given a name of their own', async () => {
  await use('a', 'b');
  await promisify(execFile)('docker', ['tag', image('a'), FOREIGN_NAME]);
  await look(99);
  expect(await present()).toEqual(['a']);
});

it('learns from pulls what runs need', async () => {
  const rank = { ...aRank(''), image: image('a') };
  const activities = createImageActivities({
    docker,
    images: aLedger(),
    allowLocalImages: false,
    pullIdleMs: 30_000,
  });
  await anAttempt().run(activities['pull-image'], rank);
  await look(99);
  expect(await present()).toEqual(['a']);
  await aLedger().released(rank);
  await look(99);
  expect(await present()).toEqual([]);
});

it('removes an image whose name has gone to a newer one', async () => {
  await use('a');
  const old = (await docker.image(image('a')))?.id as string;
  await loadImage(image('a'), 1000);
  await look(99);
  expect(await docker.image(old)).toBeUndefined();
  expect(await present()).toEqual(['a']);
});

it('measures the file system that Docker has its data on', async () => {
  const measure = createDiskMeter({ docker, dockerHost: undefined, highPercent: 85 });
  const disk = await measure();
  const { blocks, bsize } = await statfs((await docker.machine()).dataRoot);
  expect(disk).toMatchObject({ totalBytes: blocks * bsize, highPercent: 85 });
  expect(disk?.usedPercent).toBeGreaterThan(0);
  expect(disk?.usedPercent).toBeLessThan(100);
  const remote = createDiskMeter({ docker, dockerHost: 'tcp://192.0.2.1:2375', highPercent: 85 });
  expect(await remote()).toBeUndefined();
});
