/** Where this package lies: the same from the sources, from dist/ and from one of its chunks. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { readJson } from './json-file.ts';

const ROOT = findRoot(import.meta.dirname);

/** A file of the build. */
export const distFile = (name: string): string => path.join(ROOT, 'dist', name);
/** A file of the package, as its package.json `files` name them. */
export const packageFile = (name: string): string => path.join(ROOT, name);

/** Names the build on disk; changes with any of its files. */
export function buildId(): string {
  const stamp = readJson(distFile('build.json')) as { id: string } | undefined;
  if (stamp === undefined) {
    throw new Error(`${distFile('build.json')} is missing: the build is not complete; run \`npm run build\``);
  }
  return stamp.id;
}

function findRoot(folder: string): string {
  if (existsSync(path.join(folder, 'package.json'))) return folder;
  const parent = path.dirname(folder);
  if (parent === folder) throw new Error(`no package.json above ${import.meta.dirname}`);
  return findRoot(parent);
}
