#!/usr/bin/env node
/**
 * The file behind the command `mcli`. Loads the rest only after it has found a Node that can run it, and with the
 * compile cache on, which halves the start.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import module from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const OLDEST_NODE = [22, 12] as const;

if (isTooOld(process.versions.node)) {
  runWithOwnNode();
} else {
  module.enableCompileCache();
  await import('./main.ts');
}

function isTooOld(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1]);
}

/** `npm i -g` runs mcli with whatever Node is in the PATH; the package `node`, a dependency, brings a newer one. */
function runWithOwnNode(): void {
  const script = fileURLToPath(import.meta.url);
  const own = ['../node_modules/node/bin/node', '../../node/bin/node']
    .map((file) => path.resolve(path.dirname(script), file))
    .find((file) => existsSync(file));
  if (own === undefined) {
    process.stderr.write(
      `✗ mcli needs Node ${OLDEST_NODE.join('.')} or newer\n` +
        `  why: it was started by Node ${process.versions.node}, and the Node that its package brings is not in place\n` +
        '  fix: install it again with install scripts allowed (npm i -g --ignore-scripts=false), or install a newer Node\n',
    );
    process.exitCode = 1;
    return;
  }
  const { status, signal } = spawnSync(own, [script, ...process.argv.slice(2)], { stdio: 'inherit' });
  if (signal !== null) process.kill(process.pid, signal);
  process.exitCode = status ?? 1;
}
