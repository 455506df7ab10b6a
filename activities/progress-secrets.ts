/** What a run reports of itself goes into its history, and so never with the value of a secret. */
import type { ProgressLines, ProgressReport } from '../core/progress.ts';
import type { SecretMask } from '../core/secret-mask.ts';

/** The same lines, with `***` in names, and without links that hold a value: those would lead nowhere. */
export function withoutSecrets(lines: ProgressLines, mask: SecretMask): ProgressLines {
  const shown = lines.reports.flatMap(({ metrics, links }) => [
    ...Object.keys(metrics),
    ...Object.entries(links).flat(),
  ]);
  // Thousands of lines may come in a second, and hardly any holds a value.
  if (!mask.isIn([...shown, lines.problem ?? ''].join('\n'))) return lines;
  const leftOut = new Set<string>();
  const reports = lines.reports.map((report): ProgressReport => {
    const links = Object.entries(report.links).filter(([name, address]) => {
      const isShown = !mask.isIn(address);
      if (!isShown) leftOut.add(mask.maskText(name));
      return isShown;
    });
    const { metrics } = report;
    return { ...report, metrics: named(Object.entries(metrics), mask), links: named(links, mask) };
  });
  const last = [...leftOut].at(-1);
  const problem =
    last === undefined
      ? lines.problem
      : `The link ${last} is not shown, since it holds the value of a secret.`;
  return { ...lines, reports, ...(problem !== undefined && { problem: mask.maskText(problem) }) };
}

function named<T>(
  entries: readonly (readonly [name: string, value: T])[],
  mask: SecretMask,
): Record<string, T> {
  return Object.fromEntries(entries.map(([name, value]) => [mask.maskText(name), value]));
}
