/** Runs that have yet to tell a cluster without a memory what they hold: it gives nothing out before. */

/** Runs that do not answer are not waited for any longer after so many sweeps without an answer. */
const SILENT_SWEEPS = 4;

export class UnheardRuns {
  private readonly runs: Set<string>;
  /** Who told it before all others were asked; absent when everybody is known. */
  private heardEarly: Set<string> | undefined;
  /** How many sweeps in a row have heard of none of them. */
  private silentSweeps = 0;

  /** @param isFresh whether others are yet to be asked */
  constructor(runs: readonly string[], isFresh: boolean) {
    this.runs = new Set(runs);
    if (isFresh) this.heardEarly = new Set();
  }

  get names(): readonly string[] {
    return [...this.runs];
  }

  get isEmpty(): boolean {
    return this.runs.size === 0;
  }

  /** These have been asked. */
  expect(runs: readonly string[]): void {
    for (const run of runs) if (!this.heardEarly?.has(run)) this.runs.add(run);
    this.heardEarly = undefined;
  }

  hear(run: string): void {
    this.heardEarly?.add(run);
    if (this.runs.delete(run)) this.silentSweeps = 0;
  }

  /** @param ended runs that will say nothing any more */
  sweep(ended: readonly string[]): void {
    const before = this.runs.size;
    for (const run of ended) this.runs.delete(run);
    if (before > 0) this.silentSweeps = this.runs.size < before ? 0 : this.silentSweeps + 1;
    if (this.silentSweeps >= SILENT_SWEEPS) this.runs.clear();
  }
}
