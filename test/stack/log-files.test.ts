import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { stackHome } from '../../stack/home.ts';
import { logFile, rotateLogs, withLog } from '../../stack/log-files.ts';

test('a log that has grown is emptied under its writer, and one older file is kept', () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'mcli-logs-'));
  const home = stackHome({ MCLI_HOME: folder });
  withLog(home, 'temporal', (descriptor) => {
    appendFileSync(descriptor, 'old\n'.repeat(2_600_000));
    rotateLogs(home);
    appendFileSync(descriptor, 'new\n');
  });
  expect(readFileSync(logFile(home, 'temporal'), 'utf8')).toBe('new\n');
  expect(statSync(`${logFile(home, 'temporal')}.1`).size).toBe(10_400_000);
  rmSync(folder, { recursive: true });
});
