/** `max_duration`: wall clock from the first start of a run, over all its resumptions. */
import { CancellationScope, condition } from '@temporalio/workflow';

export class TimeLimit {
  /** Of the run's first command. */
  startedAt: Date | undefined;
  private readonly hours: () => number | undefined;
  private readonly onEnd: (message: string) => void;

  /** @param hours the limit, which may change at any time; undefined while there is none */
  constructor(hours: () => number | undefined, onEnd: (message: string) => void) {
    this.hours = hours;
    this.onEnd = onEnd;
  }

  /** Milliseconds; undefined while there is no limit. */
  left(): number | undefined {
    const hours = this.hours();
    if (hours === undefined) return undefined;
    const spentMs = this.startedAt ? Date.now() - this.startedAt.getTime() : 0;
    return Math.max(0, hours * 3_600_000 - spentMs);
  }

  /** The first time counts. */
  start(): void {
    if (this.startedAt) return;
    const startedAt = new Date();
    this.startedAt = startedAt;
    // It must outlive the scope of the resumption that is on.
    void CancellationScope.nonCancellable(() => this.watch(startedAt));
  }

  private async watch(startedAt: Date): Promise<void> {
    for (;;) {
      await condition(() => this.hours() !== undefined);
      const hours = this.hours();
      const leftMs = this.left() ?? 0;
      const changed = leftMs > 0 && (await condition(() => this.hours() !== hours, leftMs));
      if (changed) continue;
      this.onEnd(`The run reached its max_duration of ${hours} h, counted from ${startedAt.toISOString()}.`);
      return;
    }
  }
}
