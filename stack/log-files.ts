/**
 * Logs of the parts. They write to their files themselves, so that the death of the supervisor closes no pipe under
 * them; so a log that has grown is copied and emptied in place.
 */
import { closeSync, copyFileSync, mkdirSync, openSync, readdirSync, statSync, truncateSync } from 'node:fs';
import path from 'node:path';
import type { StackHome } from './home.ts';

const MAX_BYTES = 10_000_000;

export const logFile = (home: StackHome, part: string): string => path.join(home.logs, `${part}.log`);

/** Opened for appending: what is written after the file was emptied goes to its new end. */
export function withLog<T>(home: StackHome, part: string, use: (descriptor: number) => T): T {
  mkdirSync(home.logs, { recursive: true });
  const descriptor = openSync(logFile(home, part), 'a');
  try {
    return use(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Keeps one older file of each log; a few lines written in between may be lost. */
export function rotateLogs(home: StackHome): void {
  for (const name of readdirSync(home.logs)) {
    if (!name.endsWith('.log')) continue;
    const file = path.join(home.logs, name);
    if (statSync(file).size <= MAX_BYTES) continue;
    copyFileSync(file, `${file}.1`);
    truncateSync(file);
  }
}
