/** The node agent's connection to NATS, which carries logs and sealed secrets. */
import { readFileSync } from 'node:fs';
import { connect, credsAuthenticator } from '@nats-io/transport-node';
import type { NatsConnection } from '@nats-io/transport-node';
import type { NodeConfig } from './node-config.ts';
import { RETRY_MS } from './patiently.ts';

/** A connection that the network has dropped silently is made again after two to three of these. */
const PING_MS = 10_000;
const SAY_AFTER_MS = 5_000;

/**
 * Resolves when NATS is reached for the first time; from then on the client comes back by itself, for as long as it
 * takes. Credentials are read again for every attempt, since a server that refuses them may be waiting for newer ones.
 * @throws Error when there is no such file of credentials
 */
export async function connectToNats({
  natsServers,
  natsCredentialsPath,
}: Pick<NodeConfig, 'natsServers' | 'natsCredentialsPath'>): Promise<NatsConnection> {
  const waiting = setTimeout(
    () => console.error(`Waiting for NATS at ${natsServers.join(', ')}, which is away or refuses this node.`),
    SAY_AFTER_MS,
  );
  try {
    const connection = await connect({
      servers: [...natsServers],
      waitOnFirstConnect: true,
      maxReconnectAttempts: -1,
      reconnectTimeWait: RETRY_MS,
      pingInterval: PING_MS,
      // Otherwise the second refusal in a row closes the connection for good.
      ignoreAuthErrorAbort: true,
      ...(natsCredentialsPath !== undefined && {
        authenticator: credsAuthenticator(newestOf(natsCredentialsPath)),
      }),
    });
    void sayWhatIsWrong(connection);
    return connection;
  } finally {
    clearTimeout(waiting);
  }
}

/** A file that is gone, or not whole, since it is just being replaced, is as it was. */
function newestOf(path: string): () => Uint8Array {
  let known = readFileSync(path);
  return () => {
    try {
      const newest = readFileSync(path);
      // Asked by the client, it would close the connection for good if it cannot be parsed.
      credsAuthenticator(newest)('probe');
      known = newest;
    } catch {
      return known;
    }
    return known;
  };
}

/** Each complaint once, until the server takes the connection again. */
async function sayWhatIsWrong(connection: NatsConnection): Promise<void> {
  let said = '';
  for await (const status of connection.status()) {
    if (status.type === 'reconnect') said = '';
    if (status.type !== 'error' || status.error.message === said) continue;
    said = status.error.message;
    console.error(`NATS: ${said}`);
  }
}
