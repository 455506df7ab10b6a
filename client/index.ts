/** The client of mcli, for TypeScript users and for the CLI. */
export { Clusters } from './clusters.ts';
export type { NodeBeat, NodeOrder } from './clusters.ts';
export { Connections } from './connection.ts';
export type { ServerAddresses } from './connection.ts';
export {
  ClusterSilent,
  NoNodeKeys,
  RunNotFound,
  RunSilent,
  SecretClash,
  SecretExists,
  SecretInvalid,
  SecretLimit,
  SecretNotFound,
  SecretStoreSilent,
  ServerUnreachable,
  UserInvalid,
} from './errors.ts';
export type { Heartbeat } from './heartbeats.ts';
export { firstException } from './first-exception.ts';
export { Logs } from './logs.ts';
export type { LogChunk } from './log-reader.ts';
export type { LogSelection } from './logs.ts';
export { Runs } from './runs.ts';
export type { RunFilter, RunSummary } from './run-list.ts';
export type { TrackerState } from './run-trackers.ts';
export type { Submission, Submitted } from './runs.ts';
export { Secrets } from './secrets.ts';
export type { SealedSecret, SecretContent, SecretSummary } from '../core/secret.ts';
export type { LifecycleStep, RunDetails } from './run-history.ts';
