/**
 * The order of the queue: priority class, then the policy's key, then creation time, then name and resumption, which
 * no two requests share. The order of the input never matters.
 */
import type { CapacityRequest } from './cluster.ts';
import type { Estimate } from './estimates.ts';
import { priorityRank } from './priority.ts';

/** A request with what the scheduler works out about it once per plan. */
export interface Waiting {
  readonly request: CapacityRequest;
  readonly demand: Demand;
  /** 0 is the most urgent class. */
  readonly classRank: number;
  readonly estimate: Estimate;
  /** The policy's opinion inside the class: smaller goes first. */
  readonly key: number;
}

/** What a request takes, reduced to numbers. */
export interface Demand {
  /** The GPU type; null for CPU slots. */
  readonly pool: string | null;
  /** GPUs, or CPU slots, on each node. */
  readonly units: number;
  readonly nodes: number;
  /** Units on all nodes. */
  readonly size: number;
  /** Empty when every node will do. */
  readonly nodeNames: readonly string[];
}

export function byQueueOrder(a: Waiting, b: Waiting): number {
  return (
    a.classRank - b.classRank ||
    a.key - b.key ||
    a.request.createdAt - b.request.createdAt ||
    compareText(a.request.run, b.request.run) ||
    a.request.resumption - b.request.resumption
  );
}

/** By code unit, the same on every machine, as `localeCompare` is not. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export function classRankOf(request: CapacityRequest): number {
  return priorityRank(request.priority);
}
