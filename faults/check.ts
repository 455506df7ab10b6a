/**
 * The checker: from evidence to violations. Pure, and on nobody's side: what cannot be explained by the programs and by
 * the faults that hit them is a violation.
 */
import { checkCapacity } from './check-capacity.ts';
import { checkContainers } from './check-containers.ts';
import { checkEnds } from './check-ends.ts';
import { checkFaults } from './check-faults.ts';
import { checkFollows } from './check-follow.ts';
import { checkLogs } from './check-logs.ts';
import type { Evidence } from './evidence.ts';
import type { Findings } from './findings.ts';

export function check(evidence: Evidence): Findings {
  const parts = [
    checkEnds(evidence),
    checkContainers(evidence),
    checkCapacity(evidence),
    checkLogs(evidence),
    checkFollows(evidence),
    checkFaults(evidence),
  ];
  return {
    violations: parts.flatMap(({ violations }) => violations),
    looks: Object.assign({}, ...parts.map(({ looks }) => looks)) as Findings['looks'],
  };
}
