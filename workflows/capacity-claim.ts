/** What a run wants or holds of its cluster, from the request for capacity to its release. */
import { condition, patched } from '@temporalio/workflow';
import type { CapacityRequest, Lease } from '../core/cluster.ts';
import { outlivingCancellation } from './interruptions.ts';
import type { GrantedLease, Release } from './messages.ts';
import { controlActivities } from './run-activities.ts';

/** Whose claim it is, and what it is for at the moment. */
export interface Claimant {
  readonly run: string;
  readonly cluster: string;
  readonly gpus: number;
  readonly resumption: () => number;
  /** @param held the lease that it has already */
  readonly request: (held: Lease | undefined) => CapacityRequest;
}

export class CapacityClaim {
  /** From the grant to the end of the resumption. */
  lease: Lease | undefined;
  private readonly claimant: Claimant;
  private readonly grants: GrantedLease[];
  /** Grants with lower fencing numbers are of an earlier life of the cluster, and came late. */
  private firstFence = 0;
  /** True from the request for capacity to its release: the cluster knows of this resumption. */
  private isRegistered = false;
  /** Must be over before the release is sent: a request that comes after it would hold the capacity for ever. */
  private readonly askings = new Set<Promise<void>>();

  /** @param grants all that the cluster sends, as it comes */
  constructor(claimant: Claimant, grants: GrantedLease[]) {
    this.claimant = claimant;
    this.grants = grants;
  }

  async untilGranted(): Promise<GrantedLease> {
    const { cluster, gpus, request } = this.claimant;
    this.isRegistered = true;
    // Only a run that was reset has grants already, of resumptions that are over.
    this.grants.length = 0;
    await controlActivities(`Ask ${cluster} for ${gpus} GPUs`)['wait-for-capacity']({
      cluster,
      request: request(this.held()),
    });
    await condition(() => this.granted() !== undefined);
    const granted = this.granted() as GrantedLease;
    this.lease = granted.lease;
    return granted;
  }

  /** Tells the cluster again what this resumption wants, or holds. */
  async askAgain(): Promise<void> {
    if (!this.isRegistered) return;
    const { cluster, request } = this.claimant;
    const held = this.held();
    const asking = outlivingCancellation(() =>
      controlActivities(`Tell ${cluster} again`)['wait-for-capacity']({
        cluster,
        request: request(held),
        ...(held ? { held } : {}),
      }),
    );
    this.askings.add(asking);
    await asking.finally(() => this.askings.delete(asking));
  }

  /** The cluster knows nothing any more. What this run does not hold yet will be given to others. */
  async clusterRestarted(firstFence = 0): Promise<void> {
    if (!this.held()) this.firstFence = firstFence;
    if (this.isRegistered) return await this.askAgain();
    // The cluster waits for everybody's word before it gives anything out.
    if (!patched('says-it-holds-nothing')) return;
    const { cluster, run, resumption } = this.claimant;
    // Of one that is over: the answer may come when this run has asked for the capacity of the next.
    const nothing = { cluster, run, resumption: resumption() - 1, ranToEnd: false };
    await outlivingCancellation(() => controlActivities(`Tell ${cluster} again`).complete(nothing));
  }

  /** Gives back what this resumption holds, or takes back its request. */
  async release(end: Pick<Release, 'ranToEnd' | 'nodeFailure'>): Promise<void> {
    this.isRegistered = false;
    const askings = [...this.askings];
    // A run of an earlier build waited for the last one only.
    if (askings.length > 1 && patched('all-askings')) await Promise.all(askings);
    else await askings.at(-1);
    const { cluster, run, resumption } = this.claimant;
    await controlActivities(`Give back the capacity of resumption ${resumption()}`).complete({
      cluster,
      run,
      resumption: resumption(),
      ...end,
    });
  }

  private held(): Lease | undefined {
    return this.lease ?? this.granted()?.lease;
  }

  private granted(): GrantedLease | undefined {
    const resumption = this.claimant.resumption();
    return this.grants.find(
      ({ lease }) => lease.request.resumption === resumption && lease.fence >= this.firstFence,
    );
  }
}
