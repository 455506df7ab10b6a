/** What the ranks of a run use of their nodes, for people and scripts. */
import type { RankReport } from '../../core/rank-report.ts';
import type { GpuUsage, Measured, RankUsage } from '../../core/usage.ts';
import { renderTable } from './table.ts';
import type { Column } from './table.ts';
import { displayBytes, iso } from './time.ts';

/** A rank that has been sampled. */
export interface UsedRank extends RankReport {
  readonly usage: RankUsage;
}

export function hasUsage(report: RankReport): report is UsedRank {
  return report.usage !== undefined;
}

/** @param live false when the commands have ended: then there is no present value. */
export function usageTable(ranks: readonly UsedRank[], live: boolean): string {
  const text = (measured: Measured, show: (value: number) => string): string => {
    const summary = `mean ${show(measured.mean)}, max ${show(measured.max)}`;
    return live ? `${show(measured.last)} (${summary})` : summary;
  };
  const overGpus = (
    gpus: readonly GpuUsage[],
    measure: (gpu: GpuUsage) => Measured,
    show: (value: number) => string,
  ): string => (gpus.length === 0 ? '-' : text(average(gpus.map(measure)), show));

  const columns: Column<UsedRank>[] = [
    { head: 'RANK', value: ({ rank }) => String(rank) },
    { head: 'NODE', value: ({ node }) => node },
    { head: 'CPU', value: ({ usage }) => text(usage.cpuPercent, percent) },
    {
      head: 'MEMORY',
      value: ({ usage }) =>
        `${text(usage.memoryBytes, displayRound)} of ${displayRound(usage.memoryLimitBytes)}`,
    },
  ];
  if (ranks.some(({ usage }) => usage.gpus.length > 0)) {
    columns.push(
      { head: 'GPU', value: ({ usage }) => overGpus(usage.gpus, (gpu) => gpu.utilizationPercent, percent) },
      {
        head: 'GPU_MEMORY',
        value: ({ usage }) => overGpus(usage.gpus, (gpu) => gpu.memoryBytes, displayRound),
      },
    );
  }
  return renderTable(columns, ranks);
}

/** Over the GPUs of a rank; of the maxima, the largest. */
function average(all: readonly Measured[]): Measured {
  const mean = (value: (measured: Measured) => number): number =>
    all.reduce((sum, measured) => sum + value(measured), 0) / all.length;
  return {
    last: mean(({ last }) => last),
    mean: mean(({ mean }) => mean),
    max: Math.max(...all.map(({ max }) => max)),
  };
}

/** Exact enough to tell a program that waits from one that does nothing. */
function percent(value: number): string {
  return `${value > 0 && value < 10 ? value.toFixed(1) : Math.round(value)}%`;
}

function displayRound(bytes: number): string {
  return displayBytes(Math.round(bytes));
}

/** The documented shape. */
export function usageAsJson({ rank, node, usage }: UsedRank): Record<string, unknown> {
  const { at, samples, ...rest } = usage;
  return { rank, node, sampledAt: iso(at), samples, ...rest };
}
