/** What the order inside a priority class goes by, and who is protected from being passed for ever. */

/** What a policy may look at. */
export interface PolicyView {
  /** GPUs, or CPU slots of a CPU run, over all nodes. */
  readonly units: number;
  /** Expected run time, milliseconds. */
  readonly estimateMs: number;
  /** Since the run was created, milliseconds. */
  readonly waitedMs: number;
}

export interface Policy {
  readonly name: string;
  /** Smaller goes first within a class. */
  readonly key: (run: PolicyView) => number;
  /** Whether the first run that has to wait gets a reservation. Without one large runs starve. */
  readonly reservesForHead: boolean;
}

export const EASY: Policy = { name: 'easy', key: () => 0, reservesForHead: true };

export const PRODUCT_POLICY: Policy = EASY;
