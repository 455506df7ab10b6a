/**
 * Makes dist/: the CLI as one lazily loaded bundle, the processes of the stack, the client library with its types, and
 * the workflow bundles, which save every worker two seconds of webpack at its start.
 * dist/build.json is written last. It names the build, so that a running stack can tell whether it is of this one.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';
import type { BuildOptions } from 'esbuild';
import { build } from 'esbuild';

const root = path.dirname(import.meta.dirname);
const dist = path.join(root, 'dist');
/** A running mcli may still have to load a chunk of the build before this one. */
const OLD_CHUNK_MS = 24 * 3600 * 1000;

const startedAt = new Date();
await mkdir(dist, { recursive: true });
const outputs = (
  await Promise.all([
    bundleCli(),
    bundleProcesses(),
    bundleLibrary(),
    bundleWorkflows('workflows/index.ts', 'workflows-run.js'),
    bundleWorkflows('workflows/cluster-index.ts', 'workflows-cluster.js'),
    copy('stack/tools-requirements.txt'),
  ])
).flat();
await removeOldChunks(outputs);
await writeStamp(outputs);

/** Dependencies are bundled too: a command then reads a few files instead of hundreds. */
function bundleCli(): Promise<string[]> {
  return bundle({
    entryPoints: { mcli: 'cli/start.ts' },
    splitting: true,
    chunkNames: 'chunks/[name]-[hash]',
    external: ['@temporalio/worker', '@temporalio/core-bridge', '@temporalio/workflow'],
    // CommonJS dependencies reach Node's own modules through `require`, which a module has to make for itself.
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
    },
  });
}

/** Long-lived processes load their packages from node_modules: some are native, and start time matters less. */
function bundleProcesses(): Promise<string[]> {
  return bundle({
    entryPoints: {
      'control-worker': 'workers/control.ts',
      'cluster-worker': 'workers/cluster.ts',
      'node-agent': 'workers/node.ts',
      'node-guard': 'workers/guard.ts',
      supervisor: 'stack/supervisor.ts',
    },
    packages: 'external',
  });
}

async function bundleLibrary(): Promise<string[]> {
  const types = promisify(execFile)(path.join(root, 'node_modules/.bin/tsc'), [
    '-p',
    path.join(root, 'scripts/tsconfig.types.json'),
  ]).catch((error: { stdout: string }) => {
    throw new Error(`tsc could not write the types of the client library:\n${error.stdout}`);
  });
  const [files] = await Promise.all([
    bundle({ entryPoints: { client: 'client/index.ts' }, packages: 'external' }),
    types,
  ]);
  return files;
}

async function bundle(options: BuildOptions): Promise<string[]> {
  const result = await build({
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node22',
    outdir: dist,
    absWorkingDir: root,
    logLevel: 'warning',
    ...options,
    metafile: true,
  });
  return Object.keys(result.metafile.outputs).map((file) => path.join(root, file));
}

async function bundleWorkflows(source: string, target: string): Promise<string[]> {
  const workflowsPath = path.join(root, source);
  const { code } = await bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('WARN') });
  const file = path.join(dist, target);
  await writeFile(file, code);
  return [file];
}

async function copy(source: string): Promise<string[]> {
  const file = path.join(dist, path.basename(source));
  await copyFile(path.join(root, source), file);
  return [file];
}

async function removeOldChunks(current: readonly string[]): Promise<void> {
  const chunks = path.join(dist, 'chunks');
  for (const name of await readdir(chunks).catch(() => [])) {
    const file = path.join(chunks, name);
    if (current.includes(file)) continue;
    if (Date.now() - (await stat(file)).mtimeMs > OLD_CHUNK_MS) await rm(file);
  }
}

/** Dated at the beginning of the build: a source that changed meanwhile makes the next call build again. */
async function writeStamp(files: readonly string[]): Promise<void> {
  const hash = createHash('sha256');
  for (const file of files.toSorted()) hash.update(path.relative(dist, file)).update(await readFile(file));
  const stamp = path.join(dist, 'build.json');
  await writeFile(`${stamp}.new`, JSON.stringify({ id: hash.digest('hex').slice(0, 16) }));
  await utimes(`${stamp}.new`, startedAt, startedAt);
  await rename(`${stamp}.new`, stamp);
}
