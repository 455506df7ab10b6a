/** Connections to the servers, opened on first use: a command pays only for what it talks to. */
import { Client, Connection } from '@temporalio/client';
import type { ConnectionOptions } from '@temporalio/client';
import { jetstream } from '@nats-io/jetstream';
import type { JetStreamClient } from '@nats-io/jetstream';
import { connect, credsAuthenticator } from '@nats-io/transport-node';
import type { NatsConnection } from '@nats-io/transport-node';
import { ServerUnreachable } from './errors.ts';

/** Where the servers are. */
export interface ServerAddresses {
  readonly temporal: ConnectionOptions;
  readonly namespace: string;
  readonly natsUrl: string;
  /** Content of a NATS credentials file. */
  readonly natsCredentials?: string;
}

/** Without it, a server that is down is noticed after 10 s only. */
const CONNECT_TIMEOUT_MS = 3_000;
const RECONNECT_MS = 500;
/** A connection that a network has dropped silently is noticed, and made again, after two to three of these. */
const PING_MS = 10_000;

export class Connections {
  private readonly addresses: ServerAddresses;
  private temporalClient: Promise<Client> | undefined;
  private natsConnection: Promise<NatsConnection> | undefined;
  private link = new AbortController();

  constructor(addresses: ServerAddresses) {
    this.addresses = addresses;
  }

  /** @throws ServerUnreachable */
  temporal(): Promise<Client> {
    this.temporalClient ??= this.connectTemporal();
    return this.temporalClient;
  }

  /** @throws ServerUnreachable */
  async logs(): Promise<JetStreamClient> {
    const connecting = (this.natsConnection ??= this.connectNats());
    try {
      return jetstream(await connecting);
    } catch (error) {
      // The next call tries again: whoever follows a log waits for a server that is away.
      if (this.natsConnection === connecting) this.natsConnection = undefined;
      throw error;
    }
  }

  /** Aborted when the connection to NATS is lost, and when it is there again: what was under way has no answer then. */
  get natsLink(): AbortSignal {
    return this.link.signal;
  }

  async close(): Promise<void> {
    const [temporal, nats] = await Promise.allSettled([this.temporalClient, this.natsConnection]);
    if (temporal.status === 'fulfilled') await temporal.value?.connection.close();
    if (nats.status === 'fulfilled') await nats.value?.close();
  }

  private async connectTemporal(): Promise<Client> {
    const { temporal, namespace } = this.addresses;
    try {
      const connection = await Connection.connect({ ...temporal, connectTimeout: CONNECT_TIMEOUT_MS });
      return new Client({ connection, namespace });
    } catch (error) {
      throw new ServerUnreachable('Temporal', temporal.address ?? '127.0.0.1:7233', error);
    }
  }

  private async connectNats(): Promise<NatsConnection> {
    const { natsUrl, natsCredentials } = this.addresses;
    try {
      const connection = await connect({
        servers: natsUrl,
        timeout: CONNECT_TIMEOUT_MS,
        maxReconnectAttempts: -1,
        reconnectTimeWait: RECONNECT_MS,
        pingInterval: PING_MS,
        // Otherwise the second refusal in a row closes the connection for good.
        ignoreAuthErrorAbort: true,
        ...(natsCredentials === undefined
          ? {}
          : { authenticator: credsAuthenticator(new TextEncoder().encode(natsCredentials)) }),
      });
      void this.watchLink(connection);
      return connection;
    } catch (error) {
      throw new ServerUnreachable('NATS', natsUrl, error);
    }
  }

  private async watchLink(connection: NatsConnection): Promise<void> {
    for await (const { type } of connection.status()) {
      if (type !== 'disconnect' && type !== 'reconnect') continue;
      const before = this.link;
      this.link = new AbortController();
      before.abort();
    }
  }
}
