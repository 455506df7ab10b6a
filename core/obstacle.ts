/** Why a run waits; what the sentence for people is made from. */
import type { CapacityRequest } from './cluster.ts';

export type Obstacle =
  | { readonly type: 'no-such-nodes' }
  | { readonly type: 'too-little-free' }
  | { readonly type: 'reserved'; readonly for: CapacityRequest; readonly startsAt: number }
  | { readonly type: 'higher-priority'; readonly run: CapacityRequest }
  | { readonly type: 'clearing'; readonly victims: readonly string[] };

/** One object each, shared by all runs they stop: reasons are made once for each. */
export const NO_SUCH_NODES: Obstacle = { type: 'no-such-nodes' };
export const TOO_LITTLE_FREE: Obstacle = { type: 'too-little-free' };
