/**
 * The servers that Temporal's own conventions name. A module of its own with static imports: a bundled dynamic import
 * of a CommonJS package has no named exports.
 */
import { readFile } from 'node:fs/promises';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import type { ServerAddresses } from '../client/connection.ts';
import { NAMESPACE } from '../core/naming.ts';

export async function configuredServers(env: NodeJS.ProcessEnv): Promise<ServerAddresses> {
  const { connectionOptions, namespace } = loadClientConnectConfig();
  const credentials = env['MCLI_NATS_CREDS'];
  return {
    temporal: connectionOptions,
    namespace: namespace ?? NAMESPACE,
    natsUrl: env['MCLI_NATS_URL'] ?? 'nats://127.0.0.1:4222',
    ...(credentials === undefined ? {} : { natsCredentials: await readFile(credentials, 'utf8') }),
  };
}
