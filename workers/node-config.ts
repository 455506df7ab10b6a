/** The environment of a node agent, parsed once. */
import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { defaultRuntimeRoots } from '../activities/runtime-dir.ts';

const whole = z.string().regex(/^\d+$/, 'must be a whole number').transform(Number);
const flag = z
  .enum(['true', 'false', '1', '0'])
  .default('false')
  .transform((text) => text === 'true' || text === '1');

/** The loss of a node is noticed within 10 s, and its containers need some time to end. */
const MIN_LEASE_SECONDS = 15;

/** To Docker, 0 is no limit; and no program of use runs in less. */
const MIN_MEMORY_MB = 256;

const Environment = z
  .object({
    MCLI_CLUSTER: z.string().min(1),
    MCLI_NODE: z.string().min(1),
    /** Declared GPUs are scheduled but not attached; without this, nvidia-smi is asked. */
    MCLI_NODE_GPUS: whole.optional(),
    MCLI_NODE_GPU_TYPE: z.string().min(1).optional(),
    MCLI_NODE_CPU_SLOTS: whole.optional(),
    /** Where other nodes reach this one. */
    MCLI_NODE_ADDRESS: z.string().min(1).optional(),
    /** Uses an image that is on the machine without asking the registry, as `docker run` does. */
    MCLI_NODE_ALLOW_LOCAL_IMAGES: flag,
    MCLI_NODE_CONTAINER_NETWORK: z.string().min(1).default('bridge'),
    /** JSON object: variables of every container. */
    MCLI_NODE_CONTAINER_ENV: z
      .string()
      .default('{}')
      .transform((text, context) => {
        try {
          return z.record(z.string(), z.string()).parse(JSON.parse(text));
        } catch {
          context.addIssue('must be a JSON object of texts');
          return z.NEVER;
        }
      }),
    /** PEM file of certificates that programs in containers shall trust. */
    MCLI_NODE_CA_BUNDLE: z.string().min(1).optional(),
    /** What all containers may use together; by default what the machine has, less a reserve. */
    MCLI_NODE_CONTAINER_MEMORY_MB: whole
      .refine((megabytes) => megabytes >= MIN_MEMORY_MB, `must be at least ${MIN_MEMORY_MB}`)
      .optional(),
    /** How long runs go on here without a word from the control plane; then they go on elsewhere. */
    MCLI_NODE_LEASE_SECONDS: whole
      .default(300)
      .refine((seconds) => seconds >= MIN_LEASE_SECONDS, `must be at least ${MIN_LEASE_SECONDS}`),
    /** `keep`: runs go on here for as long as it takes, and wait for the node instead of going on elsewhere. */
    MCLI_NODE_WHEN_LEASE_ENDS: z.enum(['stop', 'keep']).default('stop'),
    /** What the agent has to remember over its own restarts, and those of the machine. */
    MCLI_NODE_STATE_DIR: z.string().min(1).default('/var/lib/mcli'),
    /** age identities, newest first: without them the secrets of users cannot be opened here. */
    MCLI_NODE_KEY_FILE: z.string().min(1).optional(),
    /** Where secrets of runs are while their containers live; it should be in memory. */
    MCLI_NODE_RUNTIME_DIR: z.string().min(1).optional(),
    XDG_RUNTIME_DIR: z.string().min(1).optional(),
    /** When Docker's disk is fuller, images of earlier runs are removed. */
    MCLI_NODE_DISK_HIGH_PERCENT: whole.default(85).refine((percent) => percent > 0 && percent <= 100, {
      message: 'must be from 1 to 100',
    }),
    /** How much of the log of one rank is kept. */
    MCLI_NODE_LOG_LIMIT_MB: whole.default(1_024),
    MCLI_NATS_URL: z.string().min(1).default('nats://127.0.0.1:4222'),
    /** Credentials file of NATS, where it wants one. */
    MCLI_NATS_CREDS: z.string().min(1).optional(),
    DOCKER_HOST: z.string().min(1).optional(),
  })
  .refine(({ MCLI_NODE_GPUS: gpus, MCLI_NODE_GPU_TYPE: type }) => !gpus || type !== undefined, {
    path: ['MCLI_NODE_GPU_TYPE'],
    message: 'is needed with MCLI_NODE_GPUS, like a100_80gb',
  });

export interface NodeConfig {
  readonly cluster: string;
  readonly node: string;
  readonly declaredGpus: { readonly type: string | null; readonly count: number } | undefined;
  readonly cpuSlots: number;
  readonly address: string;
  readonly allowLocalImages: boolean;
  readonly containerNetwork: string;
  readonly containerEnv: Readonly<Record<string, string>>;
  readonly caBundlePath: string | undefined;
  readonly containerMemoryBytes: number | undefined;
  /** `null`: containers are never stopped because the control plane is away. */
  readonly leaseMs: number | null;
  readonly stateDirectory: string;
  readonly keyFile: string | undefined;
  /** The first that is in memory is taken. */
  readonly runtimeRoots: readonly string[];
  readonly diskHighPercent: number;
  readonly logLimitBytes: number;
  readonly natsServers: readonly string[];
  readonly natsCredentialsPath: string | undefined;
  readonly dockerHost: string | undefined;
}

/** @throws Error naming every variable that is missing or wrong. */
export function readNodeConfig(environment: NodeJS.ProcessEnv): NodeConfig {
  const parsed = Environment.safeParse(environment);
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
    throw new Error(`The environment of the node agent is not right:\n${problems.join('\n')}`);
  }
  const env = parsed.data;
  const gpus = env.MCLI_NODE_GPUS;
  return {
    cluster: env.MCLI_CLUSTER,
    node: env.MCLI_NODE,
    declaredGpus:
      gpus === undefined ? undefined : { count: gpus, type: gpus ? env.MCLI_NODE_GPU_TYPE! : null },
    cpuSlots: env.MCLI_NODE_CPU_SLOTS ?? availableParallelism(),
    address: env.MCLI_NODE_ADDRESS ?? env.MCLI_NODE,
    allowLocalImages: env.MCLI_NODE_ALLOW_LOCAL_IMAGES,
    containerNetwork: env.MCLI_NODE_CONTAINER_NETWORK,
    containerEnv: env.MCLI_NODE_CONTAINER_ENV,
    caBundlePath: env.MCLI_NODE_CA_BUNDLE,
    containerMemoryBytes: env.MCLI_NODE_CONTAINER_MEMORY_MB && env.MCLI_NODE_CONTAINER_MEMORY_MB * 1_048_576,
    leaseMs: env.MCLI_NODE_WHEN_LEASE_ENDS === 'keep' ? null : env.MCLI_NODE_LEASE_SECONDS * 1_000,
    stateDirectory: env.MCLI_NODE_STATE_DIR,
    keyFile: env.MCLI_NODE_KEY_FILE,
    runtimeRoots: env.MCLI_NODE_RUNTIME_DIR
      ? [env.MCLI_NODE_RUNTIME_DIR]
      : defaultRuntimeRoots(env.XDG_RUNTIME_DIR),
    diskHighPercent: env.MCLI_NODE_DISK_HIGH_PERCENT,
    logLimitBytes: env.MCLI_NODE_LOG_LIMIT_MB * 1_048_576,
    natsServers: env.MCLI_NATS_URL.split(','),
    natsCredentialsPath: env.MCLI_NATS_CREDS,
    dockerHost: env.DOCKER_HOST,
  };
}
