import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseIdentities, recipientOf } from '../../core/secret-seal.ts';
import { addNodeKey, ensureNodeKey } from '../../stack/node-key.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'mcli-test-'));
});
afterAll(() => rm(folder, { recursive: true }));

const recipientsIn = async (file: string): Promise<string[]> =>
  Promise.all(parseIdentities(await readFile(file, 'utf8')).map(recipientOf));

it('makes a key that only its owner can read, in a folder that only its owner can enter', async () => {
  const file = path.join(folder, 'keys', 'node.key');
  const { recipient, older } = await addNodeKey(file);
  expect(older).toBe(0);
  expect(await recipientsIn(file)).toEqual([recipient]);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect((await stat(path.dirname(file))).mode & 0o777).toBe(0o700);
});

it('puts a new key on top of the older ones, and leaves no other file', async () => {
  const file = path.join(folder, 'rotated', 'node.key');
  const first = await addNodeKey(file);
  // A group may be meant to read it.
  await chmod(file, 0o644);
  const second = await addNodeKey(file);
  expect(second.older).toBe(1);
  expect(await recipientsIn(file)).toEqual([second.recipient, first.recipient]);
  expect((await stat(file)).mode & 0o777).toBe(0o640);
  expect(await readdir(path.dirname(file))).toEqual(['node.key']);
});

it('loses no key when two commands make one at the same time', async () => {
  const file = path.join(folder, 'at-once', 'node.key');
  const made = await Promise.all([addNodeKey(file), addNodeKey(file), addNodeKey(file)]);
  expect((await recipientsIn(file)).toSorted()).toEqual(made.map(({ recipient }) => recipient).toSorted());
});

it('says what to do when a command has crashed in the middle', async () => {
  const file = path.join(folder, 'crashed.key');
  await writeFile(`${file}.new`, '');
  await expect(addNodeKey(file)).rejects.toMatchObject({
    message: `Another command is about to write ${file}`,
    fix: expect.stringContaining(`remove ${file}.new`),
  });
});

it('never replaces a key by itself', async () => {
  const file = path.join(folder, 'ensured.key');
  await ensureNodeKey(file);
  const text = await readFile(file, 'utf8');
  await ensureNodeKey(file);
  expect(await readFile(file, 'utf8')).toBe(text);
});

it('leaves a file alone that holds something else', async () => {
  const file = path.join(folder, 'other');
  await writeFile(file, 'precious');
  await expect(addNodeKey(file)).rejects.toMatchObject({
    message: `${file} is there, and is not a key file`,
    why: 'line 1 is not an age identity',
  });
  expect(await readFile(file, 'utf8')).toBe('precious');
  const below = path.join(file, 'node.key');
  await expect(addNodeKey(below)).rejects.toThrow('cannot be written');
  await expect(addNodeKey(path.join(folder, 'other', 'deep', 'node.key'))).rejects.toThrow(file);
});
