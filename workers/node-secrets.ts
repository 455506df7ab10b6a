/** Builds what a node agent needs for secrets: its keys, the store, and a folder in memory for each container. */
import { jetstream } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import type { Docker } from '../activities/docker.ts';
import { createMaskedValues } from '../activities/masked-values.ts';
import { createIdentityReader } from '../activities/node-identities.ts';
import { createRunSecrets } from '../activities/run-secrets.ts';
import type { RunSecrets } from '../activities/run-secrets.ts';
import { openRuntimeDir } from '../activities/runtime-dir.ts';
import { createSecretKeeper } from '../activities/secret-keeper.ts';
import { createSecretStore } from '../activities/secrets.ts';
import { SecretBuckets } from '../client/secret-buckets.ts';
import type { NodeConfig } from './node-config.ts';

interface Dependencies {
  readonly config: NodeConfig;
  readonly controlPlane: string;
  readonly nats: Promise<NatsConnection>;
  readonly docker: Docker;
  /** Whether the cluster has this node. */
  readonly isInCluster: () => Promise<boolean>;
}

export interface NodeSecrets extends RunSecrets {
  /** Keeps secrets sealed to the keys that nodes have; ends with `signal`. */
  watch(signal: AbortSignal): Promise<void>;
}

/** A question that got lost in a restart of NATS keeps a run waiting for this long. */
const REQUEST_TIMEOUT_MS = 2_000;

/** @throws Error when the folder in memory cannot be made, or another user could look into it. */
export async function openNodeSecrets({
  config,
  controlPlane,
  nats,
  docker,
  isInCluster,
}: Dependencies): Promise<NodeSecrets> {
  const { cluster, node, keyFile, runtimeRoots, stateDirectory } = config;
  const buckets = nats.then(
    (connection) => new SecretBuckets(jetstream(connection, { timeout: REQUEST_TIMEOUT_MS })),
  );
  const identities = createIdentityReader(keyFile);
  const runtime = await openRuntimeDir({
    roots: runtimeRoots,
    owner: [controlPlane, cluster, node].join('/'),
    stateDirectory,
    warn: (message) => console.error(message),
  });
  const masked = createMaskedValues({ runtime, identities, stateDirectory });
  const store = createSecretStore({ buckets, identities, node });
  const runSecrets = createRunSecrets({ store, runtime, masked, docker });
  const keeper = createSecretKeeper({
    buckets,
    identities,
    place: { cluster, node },
    isInCluster,
    sealOwn: () => masked.sealAgain(),
  });
  return {
    ...runSecrets,
    watch: (signal) => keeper.watch(signal),
  };
}
