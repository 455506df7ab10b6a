/** What ends a resumption from outside: stops, lost nodes, preemptions, the time limit. */
import { CancellationScope } from '@temporalio/workflow';
import type { RunFailure } from '../core/failures.ts';
import type { Revocation } from './messages.ts';

/** Everything from outside that ends a resumption early; the first cause stands. */
export class Interruptions {
  cause: RunFailure | undefined;
  /** A stop is final: no further resumption follows it. */
  final = false;
  readonly lostNodes = new Set<string>();
  resumption = 0;
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

  revoke({ resumption, type, node, message }: Revocation): void {
    // A revocation may arrive late, when the resumption that it names is over.
    if (resumption !== this.resumption) return;
    if (type === 'NodeLost' && node !== undefined) this.lostNodes.add(node);
    this.interrupt({ type, message });
  }

  async guard(resumption: number, body: () => Promise<void>): Promise<void> {
    this.resumption = resumption;
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
    this.lostNodes.clear();
  }
}
