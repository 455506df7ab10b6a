/** What trackers are told of a run, from its history: needs nothing but the server, and works after the run's end. */
import type { Client } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/client';
import { RunHistory } from '../client/run-history.ts';
import type { RunDetails } from '../client/run-history.ts';
import { readParameters } from '../core/run-parameters.ts';
import { lastMetrics, ownFacts } from '../core/tracking-report.ts';
import type { RunReport } from '../core/tracking-report.ts';
import { progressOf } from '../core/rank-report.ts';
import type { RunEnd } from '../core/tracking.ts';

const REQUEST_TIMEOUT_MS = 20_000;

/** Undefined when there is no such run (any more). */
export async function readRun(client: Client, run: string): Promise<RunDetails | undefined> {
  const history = new RunHistory(client, run);
  try {
    const { events } = await client.withDeadline(Date.now() + REQUEST_TIMEOUT_MS, () =>
      client.workflow.getHandle(run).fetchHistory(),
    );
    for (const event of events ?? []) await history.add(event);
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined;
    throw error;
  }
  return history.current();
}

/** @param end of a run that has not written it down yet */
export function reportOf(details: RunDetails, end: RunEnd | undefined, now: number): RunReport {
  const { input, resources, startedAt, reports } = details;
  const { status, reason, message, exitCode } = end ?? details;
  const endedAt = (end === undefined ? details.endedAt?.getTime() : undefined) ?? now;
  return {
    run: details.name,
    outcome: status === 'COMPLETED' ? 'completed' : status === 'FAILED' ? 'failed' : 'stopped',
    ...(exitCode !== undefined && { exitCode }),
    ...(startedAt && { startedAt: startedAt.getTime() }),
    endedAt,
    facts: {
      name: details.name,
      user: input.user,
      status,
      reason,
      message,
      exit_code: exitCode === undefined ? '' : String(exitCode),
      cluster: resources?.cluster ?? '',
      nodes: details.nodes.join(', '),
      gpus: String(resources?.gpus ?? 0),
      gpu_type: resources?.gpuType ?? '',
      image: input.spec.image,
      priority: details.scheduling.priority,
      parent: input.spec.parentName ?? '',
      resumptions: String(details.resumption),
      created: details.createdAt.toISOString(),
      started: startedAt?.toISOString() ?? '',
      ended: new Date(endedAt).toISOString(),
      duration_seconds: startedAt ? String((endedAt - startedAt.getTime()) / 1_000) : '',
      ...ownFacts('link', progressOf(reports)?.links ?? {}),
      ...ownFacts('metadata', input.spec.metadata),
    },
    parameters: readParameters(input.spec.parametersYaml) ?? {},
    metrics: lastMetrics(reports),
    submittedYaml: input.submittedYaml,
  };
}
