/** What a tracker is told of a run: facts, parameters and metrics, as plain data. */
import type { Metric, RunProgress } from './progress.ts';
import type { RankReport } from './rank-report.ts';
import { progressOf } from './rank-report.ts';
import type { JsonValue } from './run-spec.ts';
import type { RankUsage, UsageSample } from './usage.ts';

export interface RunReport {
  readonly run: string;
  readonly outcome: 'completed' | 'failed' | 'stopped';
  /** The command's; absent when it did not end by itself. */
  readonly exitCode?: number;
  /** Epoch milliseconds; the start is absent of a run that never ran. */
  readonly startedAt?: number;
  readonly endedAt: number;
  /** Status, reason, user, cluster, GPUs, times and so on, by names like `gpu_type`, `link.docs` and `metadata.team`. */
  readonly facts: Readonly<Record<string, string>>;
  /** As in the run file. */
  readonly parameters: JsonValue;
  /** The last value of each. */
  readonly metrics: readonly Metric[];
  readonly submittedYaml: string;
}

/** What is measured by the clock, and not by the steps of a run. */
export type Sampled = Omit<Metric, 'step'>;

/** What a run says of itself under names of its own, which are kept apart from ours. */
export function ownFacts(
  kind: 'link' | 'metadata',
  values: Readonly<Record<string, JsonValue>>,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      `${kind}.${name}`,
      textOf(value).slice(0, MAX_FACT_LENGTH),
    ]),
  );
}

/** Old MLflow servers take no longer ones. */
const MAX_FACT_LENGTH = 5_000;

/** Parameters as names and texts: `optimizer.lr`, with lists as JSON. */
export function flattenParameters(parameters: JsonValue): ReadonlyMap<string, string> {
  const flat = new Map<string, string>();
  const add = (value: JsonValue, path: string): void => {
    if (isMapping(value) && Object.keys(value).length > 0) {
      for (const [key, each] of Object.entries(value)) add(each, path === '' ? key : `${path}.${key}`);
    } else if (path !== '') flat.set(path, textOf(value));
  };
  add(parameters, '');
  return flat;
}

function textOf(value: JsonValue): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function isMapping(value: JsonValue): value is { readonly [key: string]: JsonValue } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What the run has said of itself last, and what its ranks have used. */
export function lastMetrics(reports: readonly RankReport[]): Metric[] {
  const progress = progressOf(reports);
  return [
    ...(progress ? ownMetrics(progress) : []),
    ...reports.flatMap(({ rank, usage }) => (usage ? usageSummary(rank, usage) : [])),
  ];
}

function ownMetrics({ metrics, measured, step = 0, stepAt = 0 }: RunProgress): Metric[] {
  return Object.entries(metrics).map(([name, value]) => ({
    name,
    value: value ?? Number.NaN,
    ...(measured?.[name] ?? { step, at: stepAt }),
  }));
}

/** One sample of a rank, under the names by which trackers group system metrics. */
export function sampleMetrics(rank: number, { at, gpus, ...sample }: UsageSample): Sampled[] {
  const prefix = systemPrefix(rank);
  const metric = (name: string, value: number): Sampled => ({ name: `${prefix}/${name}`, value, at });
  return [
    metric('cpu_utilization_percentage', sample.cpuPercent),
    metric('system_memory_usage_megabytes', sample.memoryBytes / MEGABYTE),
    metric('system_memory_usage_percentage', (100 * sample.memoryBytes) / sample.memoryLimitBytes),
    ...gpus.flatMap(({ gpu, utilizationPercent, memoryBytes, memoryTotalBytes }) => [
      metric(`gpu_${gpu}_utilization_percentage`, utilizationPercent),
      metric(`gpu_${gpu}_memory_usage_megabytes`, memoryBytes / MEGABYTE),
      metric(`gpu_${gpu}_memory_usage_percentage`, (100 * memoryBytes) / memoryTotalBytes),
    ]),
  ];
}

/**
 * What has no step counts in tens of seconds, which is how often samples are taken: so curves go on over resumptions.
 * @param since when the entry began, epoch milliseconds
 */
export function withStep(metric: Metric | Sampled, since: number): Metric {
  if ('step' in metric) return metric;
  return { ...metric, step: Math.max(0, Math.floor((metric.at - since) / 10_000)) };
}

function usageSummary(rank: number, { at, cpuPercent, memoryBytes, gpus }: RankUsage): Metric[] {
  const prefix = systemPrefix(rank);
  const metric = (name: string, value: number): Metric => ({ name: `${prefix}/${name}`, value, step: 0, at });
  return [
    metric('cpu_utilization_percentage_mean', cpuPercent.mean),
    metric('cpu_utilization_percentage_max', cpuPercent.max),
    metric('system_memory_usage_megabytes_max', memoryBytes.max / MEGABYTE),
    ...gpus.flatMap(({ gpu, ...used }) => [
      metric(`gpu_${gpu}_utilization_percentage_mean`, used.utilizationPercent.mean),
      metric(`gpu_${gpu}_utilization_percentage_max`, used.utilizationPercent.max),
      metric(`gpu_${gpu}_memory_usage_megabytes_max`, used.memoryBytes.max / MEGABYTE),
    ]),
  ];
}

/** MLflow shows metrics under `system/` apart, and its own library's have no rank in their names. */
const systemPrefix = (rank: number): string => `system/rank_${rank}`;
const MEGABYTE = 1_000_000;
