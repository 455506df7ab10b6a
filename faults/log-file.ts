/** Lets a child process write into a file that this process does not keep open. */
import { closeSync, openSync } from 'node:fs';

export function withLogFile<T>(file: string, start: (log: number) => T): T {
  const log = openSync(file, 'a');
  try {
    return start(log);
  } finally {
    closeSync(log);
  }
}
