/** The variables of a run by which its trackers are reached, as the program of rank 0 sees them. */
import { ownVariables, trackerDefaults, trackerEnvironment } from '../core/tracking.ts';
import type { Variables } from '../core/tracking.ts';
import type { RankExecution } from './contract.ts';

interface Dependencies {
  /** What the secrets of a user set, less what the run sets itself. Rejects when the signal aborts. */
  readonly secretVariables: (
    user: string,
    own: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ) => Promise<Readonly<Record<string, string>>>;
  /** Of all containers of the node. */
  readonly containerEnv: Readonly<Record<string, string>>;
}

export type TrackerVariables = (
  input: Pick<RankExecution, 'run' | 'spec' | 'user'>,
  signal: AbortSignal,
) => Promise<Variables>;

export function createTrackerVariables({ secretVariables, containerEnv }: Dependencies): TrackerVariables {
  return async ({ run, spec, user }, signal) => ({
    ...trackerDefaults(spec),
    ...containerEnv,
    ...trackerEnvironment(run, 0, spec),
    ...(await secretVariables(user, ownVariables(spec), signal)),
    ...spec.envVariables,
  });
}
