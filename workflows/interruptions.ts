/** What ends a resumption from outside: stops, lost nodes, preemptions, the time limit. */
import { CancellationScope, condition, patched } from '@temporalio/workflow';
import type { RunFailure } from '../core/failures.ts';
import type { Revocation } from './messages.ts';

/** Everything from outside that ends a resumption early; the first cause stands. */
export class Interruptions {
  cause: RunFailure | undefined;
  /** A stop is final: no further resumption follows it. */
  final = false;
  /** Lost nodes, and until when they may still run their containers, in epoch milliseconds. */
  private readonly leaseEnds = new Map<string, number>();
  resumption = 0;
  /** True between two resumptions, when the last can no longer lose anything. */
  private isCleared = false;
  /** Called when a live resumption is interrupted. */
  onInterrupt: (cause: RunFailure) => void = () => undefined;
  private scope: CancellationScope | undefined;

  interrupt(cause: RunFailure): void {
    const isFinal = cause.type === 'StoppedByUser' || cause.type === 'MaxDuration';
    // Whoever stops a run that is giving way ends it.
    if (this.cause === undefined || (isFinal && !this.final)) this.cause = cause;
    this.final ||= isFinal;
    if (!this.scope) return;
    this.scope.cancel();
    this.onInterrupt(this.cause);
  }

  async untilInterrupted(): Promise<void> {
    await condition(() => this.cause !== undefined);
  }

  revoke({ resumption, type, node, message, leaseMs = 0 }: Revocation): void {
    // A revocation may arrive late, when the resumption that it names is over.
    if (resumption !== this.resumption) return;
    if (this.isCleared && patched('late-revocations')) return;
    if (type === 'NodeLost' && node !== undefined) {
      const endsAt = Date.now() + leaseMs;
      // A node that is lost and then deleted has nothing more to wait for.
      this.leaseEnds.set(node, Math.min(endsAt, this.leaseEnds.get(node) ?? endsAt));
    }
    this.interrupt({ type, message });
  }

  /** When the last lease of a lost node ends, in epoch milliseconds; undefined when no node is lost. */
  get lastLeaseEnd(): number | undefined {
    return this.leaseEnds.size === 0 ? undefined : Math.max(...this.leaseEnds.values());
  }

  isLost(node: string): boolean {
    return this.leaseEnds.has(node);
  }

  async untilLost(node: string): Promise<void> {
    await condition(() => this.isLost(node));
  }

  /** Of a lost node, in milliseconds. */
  leaseLeftMs(node: string): number {
    return Math.max(0, (this.leaseEnds.get(node) ?? 0) - Date.now());
  }

  isLeaseOver(node: string): boolean {
    const endsAt = this.leaseEnds.get(node);
    return endsAt !== undefined && endsAt <= Date.now();
  }

  /** Resolves when the node is lost and no longer runs anything of this run. */
  async untilLeaseIsOver(node: string): Promise<void> {
    while (!this.isLeaseOver(node)) {
      const endsAt = this.leaseEnds.get(node);
      if (endsAt === undefined) await condition(() => this.leaseEnds.has(node));
      else await condition(() => this.leaseEnds.get(node) !== endsAt, endsAt - Date.now());
    }
  }

  async guard(resumption: number, body: () => Promise<void>): Promise<void> {
    this.resumption = resumption;
    this.isCleared = false;
    this.scope = new CancellationScope();
    if (this.cause) this.scope.cancel();
    try {
      await this.scope.run(body);
    } finally {
      this.scope = undefined;
    }
  }

  /** Forgets what ended the last resumption, so that the next can live. */
  clear(): void {
    this.cause = undefined;
    this.isCleared = true;
    this.leaseEnds.clear();
  }
}

/** What handlers start is of the workflow's own scope, which ends when it is cancelled in Temporal; the run goes on. */
export function outlivingCancellation(work: () => Promise<void>): Promise<void> {
  return patched('handlers-outlive-cancellation') ? CancellationScope.nonCancellable(work) : work();
}
