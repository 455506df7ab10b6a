/** The last line of `npm test`, from Vitest's report: arguments are the report and Vitest's exit code. */
import { readFileSync } from 'node:fs';

interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly testResults: readonly { readonly status: string; readonly assertionResults: readonly unknown[] }[];
}

const [file = '', exitCode = '1'] = process.argv.slice(2);
const report = readReport(file);
const passed = report?.numPassedTests ?? 0;
const skipped = report?.numPendingTests ?? 0;
// A file that does not even load has no tests to count, yet it failed; so has a run that ended badly without saying why.
const broken =
  report?.testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0,
  ).length ?? 0;
const counted = (report?.numFailedTests ?? 0) + broken;
const failed = exitCode === '0' ? counted : Math.max(1, counted);
console.log(`${passed} passed, ${failed} failed${skipped === 0 ? '' : `, ${skipped} skipped`}`);

function readReport(file: string): Report | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Report;
  } catch {
    return undefined;
  }
}
