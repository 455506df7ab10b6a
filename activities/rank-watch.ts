/**
 * Watches a rank while its command runs: what the run reports, and what it uses. An agent that starts again goes on
 * from the last heartbeat of its predecessor.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CancelledFailure } from '@temporalio/activity';
import { containerName } from '../core/naming.ts';
import type { RankRef } from '../core/naming.ts';
import { addReports } from '../core/progress.ts';
import type { ProgressLines, RunProgress } from '../core/progress.ts';
import type { RankHeartbeat, RankReport } from '../core/rank-report.ts';
import { createSecretMask } from '../core/secret-mask.ts';
import type { SecretMask } from '../core/secret-mask.ts';
import { sampleMetrics } from '../core/tracking-report.ts';
import { addSample } from '../core/usage.ts';
import type { RankUsage, UsageSample } from '../core/usage.ts';
import type { RankExecution } from './contract.ts';
import type { ContainerStats, Docker } from './docker.ts';
import type { GpuMonitor } from './gpu-monitor.ts';
import type { MetricFeed, RankFeed } from './metric-feed.ts';
import type { ProgressFiles, ProgressReader } from './progress-files.ts';
import { withoutSecrets } from './progress-secrets.ts';

export interface RankWatch {
  /** @param earlier the last heartbeat of an earlier attempt */
  begin(input: RankExecution, earlier: RankHeartbeat | undefined): WatchedRank;
}

export interface WatchedRank {
  /** As of now: for heartbeats. */
  report(): RankHeartbeat;
  /**
   * Runs the work, and adds to its result what came of the rank.
   * @throws what the work throws; a cancellation with the report as its second detail
   */
  through<T extends object>(work: () => Promise<T>): Promise<T & Pick<RankReport, 'progress' | 'usage'>>;
}

interface Dependencies {
  readonly docker: Pick<Docker, 'stats'>;
  readonly progress: Pick<ProgressFiles, 'reader'>;
  /** What must not be seen of what a run reports; `undefined` when nobody can tell any more. */
  readonly secretsOf: (ref: RankRef) => Promise<readonly string[] | undefined>;
  /** Absent where GPUs are not attached. */
  readonly gpus?: Pick<GpuMonitor, 'usage'>;
  /** Gets everything that is read and measured. */
  readonly feed?: MetricFeed;
}

const READ_INTERVAL_MS = 1_000;
const SAMPLE_INTERVAL_MS = 10_000;
/** The use of a processor is measured between two looks: so that short runs have one, too. */
const FIRST_SAMPLE_MS = 1_000;

export function createRankWatch(dependencies: Dependencies): RankWatch {
  return { begin: (input, earlier) => new Watched(dependencies, input, earlier) };
}

class Watched implements WatchedRank {
  readonly #dependencies: Dependencies;
  readonly #input: RankExecution;
  readonly #reader: ProgressReader;
  readonly #closing = new AbortController();
  readonly #reading: Promise<void>;
  readonly #feed: RankFeed | undefined;
  #progress: RunProgress | undefined;
  #usage: RankUsage | undefined;
  #mask: SecretMask | undefined;
  #lastStats: ContainerStats | undefined;
  #hasWarned = false;

  constructor(dependencies: Dependencies, input: RankExecution, earlier: RankHeartbeat | undefined) {
    this.#dependencies = dependencies;
    this.#input = input;
    this.#progress = earlier?.progress;
    this.#usage = earlier?.usage;
    this.#feed = dependencies.feed?.begin(input);
    this.#reader = dependencies.progress.reader(input, earlier?.progressBytes ?? 0);
    this.#reading = this.#readAgain();
    void this.#sampleAgain();
  }

  report(): RankHeartbeat {
    const { rank, node } = this.#input;
    return {
      rank,
      node,
      ...(this.#progress && { progress: this.#progress }),
      ...(this.#usage && { usage: this.#usage }),
      progressBytes: this.#reader.position,
    };
  }

  async through<T extends object>(
    work: () => Promise<T>,
  ): Promise<T & Pick<RankReport, 'progress' | 'usage'>> {
    try {
      const result = await work();
      const { progress, usage } = await this.#end();
      return { ...result, ...(progress && { progress }), ...(usage && { usage }) };
    } catch (error) {
      if (!(error instanceof CancelledFailure)) throw error;
      throw new CancelledFailure(error.message, [error.details?.[0], await this.#end()], error.cause);
    } finally {
      this.#closing.abort();
      this.#feed?.end();
    }
  }

  /** With what came last. */
  async #end(): Promise<RankReport> {
    this.#closing.abort();
    await this.#reading;
    await this.#read(true);
    const { progressBytes: _, ...report } = this.report();
    return report;
  }

  async #readAgain(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      await this.#read(false);
      await this.#pause(READ_INTERVAL_MS);
    }
  }

  /** Whatever goes wrong with it, the run is not to suffer. */
  async #read(last: boolean): Promise<void> {
    try {
      for await (const lines of this.#reader.read(last)) {
        const mask = await this.#secretMask();
        if (mask) this.#add(withoutSecrets(lines, mask));
      }
    } catch (error) {
      if (!this.#hasWarned)
        console.error(`The progress file of ${containerName(this.#input)} cannot be read: ${String(error)}`);
      this.#hasWarned = true;
    }
  }

  /** Asked for when the program has said something: before there is a container, nobody knows its secrets. */
  async #secretMask(): Promise<SecretMask | undefined> {
    if (this.#mask) return this.#mask;
    const secrets = await this.#dependencies.secretsOf(this.#input);
    this.#mask = secrets && createSecretMask(secrets);
    return this.#mask;
  }

  #add(lines: ProgressLines): void {
    const { progress, added } = addReports(this.#progress, lines);
    this.#progress = progress;
    // The other ranks of a gang mostly say the same.
    if (this.#input.rank === 0) this.#feed?.add(added);
  }

  async #sampleAgain(): Promise<void> {
    let intervalMs = FIRST_SAMPLE_MS;
    while (!this.#closing.signal.aborted) {
      // Docker is away, or the container has not started yet: the next sample comes soon.
      await this.#sample().catch(() => undefined);
      await this.#pause(this.#lastStats ? intervalMs : READ_INTERVAL_MS);
      if (this.#usage) intervalMs = SAMPLE_INTERVAL_MS;
    }
  }

  async #sample(): Promise<void> {
    const before = this.#lastStats;
    const stats = await this.#dependencies.docker.stats(containerName(this.#input));
    this.#lastStats = stats;
    // Another start of the container counts from zero.
    if (!before || !stats || stats.at <= before.at || stats.cpuMs < before.cpuMs) return;
    const all = this.#input.gpuIds.length > 0 ? await this.#dependencies.gpus?.usage() : undefined;
    const sample: UsageSample = {
      at: stats.at,
      cpuPercent: (100 * (stats.cpuMs - before.cpuMs)) / (stats.at - before.at),
      memoryBytes: stats.memoryBytes,
      memoryLimitBytes: stats.memoryLimitBytes,
      gpus: all?.filter(({ gpu }) => this.#input.gpuIds.includes(gpu)) ?? [],
    };
    this.#usage = addSample(this.#usage, sample);
    this.#feed?.add(sampleMetrics(this.#input.rank, sample));
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#closing.signal }).catch(() => undefined);
  }
}
