/** Brings the image of a run to the node. */
import type { FailureType } from '../core/failures.ts';
import { createSecretMask } from '../core/secret-mask.ts';
import { registryOfImage } from '../core/secret-registry.ts';
import type { RegistryCredentials } from '../core/secret-registry.ts';
import { runFailure, whileAttached, whileDockerIsAway } from './attached.ts';
import type { NodeActivities, PulledImage, PullProgress } from './contract.ts';
import type { Docker, ImageState } from './docker.ts';
import type { PullEvent } from './docker-streams.ts';
import { DockerError } from './docker-requests.ts';
import { foreignWords } from './foreign-words.ts';
import type { ImageLedger } from './image-ledger.ts';

interface Dependencies {
  readonly docker: Docker;
  /** Told what is needed, and what came. */
  readonly images?: Pick<ImageLedger, 'expect' | 'arrived'>;
  /** Asked before every pull; undefined where the user has no secret for this registry. */
  readonly authFor?: (input: PullInput) => Promise<RegistryCredentials | undefined>;
  /** As `docker run` does it: an image that is on the machine is used as it is. Otherwise every run pulls. */
  readonly allowLocalImages: boolean;
  /** How long a pull may stand still before the registry counts as unreachable. */
  readonly pullIdleMs: number;
}

/** Over restarts of the daemon. */
const MAX_ATTEMPTS = 3;
/**
 * Docker fetches few layers at a time, over all pulls: one may stand still for long behind others. Of those that this
 * agent did not ask for, it can't tell whether they get on.
 */
const QUEUED_IDLES = 10;

type PullInput = Parameters<NodeActivities['pull-image']>[0];

export function createImageActivities(dependencies: Dependencies): Pick<NodeActivities, 'pull-image'> {
  const { docker, images, allowLocalImages, pullIdleMs, authFor = async () => undefined } = dependencies;
  /** Of any pull of this agent. */
  let lastEventAt = performance.now();
  return {
    'pull-image'(input) {
      const image = withTag(input.image);
      const layers = new PulledLayers();
      return whileAttached(
        async (signal) => {
          await whileDockerIsAway(signal, async () => images?.expect(input, image));
          const local = allowLocalImages
            ? await whileDockerIsAway(signal, () => docker.image(image))
            : undefined;
          if (local === undefined) await pull(input, image, layers, signal);
          const found = local ?? (await whileDockerIsAway(signal, () => docker.image(image)));
          if (found === undefined)
            throw pullFailure(input, 'ImageNotFound', 'it is not there after the pull');
          await images?.arrived(input, image, found.id);
          await checkPlatform(input, found, signal);
          return {
            imageId: found.id,
            downloadedBytes: layers.progress.downloadedBytes,
          } satisfies PulledImage;
        },
        () => layers.progress,
      );
    },
  };

  /** A daemon that is restarted forgets its pulls, and keeps the layers that have come. */
  async function pull(
    input: PullInput,
    image: string,
    layers: PulledLayers,
    signal: AbortSignal,
  ): Promise<void> {
    const auth = await authFor(input);
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await pullOnce(input, image, layers, signal, auth);
      } catch (error) {
        const isAway = error instanceof DockerError && error.unreachable;
        if (signal.aborted || !isAway || attempt === MAX_ATTEMPTS) throw error;
        await whileDockerIsAway(signal, () => docker.image(image));
      }
    }
  }

  async function pullOnce(
    input: PullInput,
    image: string,
    layers: PulledLayers,
    signal: AbortSignal,
    auth: RegistryCredentials | undefined,
  ): Promise<void> {
    const login = auth && {
      username: auth.username,
      password: auth.password,
      serveraddress: auth.server,
    };
    const idle = new AbortController();
    const watchdog = setTimeout(() => {
      const isInTurn = layers.areQueued && performance.now() - lastEventAt < QUEUED_IDLES * pullIdleMs;
      if (isInTurn) watchdog.refresh();
      else idle.abort();
    }, pullIdleMs);
    try {
      for await (const event of docker.pull(image, AbortSignal.any([signal, idle.signal]), login)) {
        // A pull can fail inside a response that began with success.
        if (event.error !== undefined) throw new DockerError(event.error, 500);
        layers.add(event);
        lastEventAt = performance.now();
        watchdog.refresh();
      }
    } catch (error) {
      if (signal.aborted) throw error;
      if (idle.signal.aborted) {
        const words = layers.areQueued
          ? `Docker was busy with other pulls for ${(QUEUED_IDLES * pullIdleMs) / 1000} s`
          : `nothing came from the registry for ${pullIdleMs / 1000} s`;
        throw pullFailure(input, 'RegistryDown', words, error);
      }
      if (!(error instanceof DockerError) || error.unreachable) throw error;
      const type = classifyPullError(error.message, auth !== undefined);
      // A registry may say what it likes, also what it was shown. The error itself quotes it, and so does its cause.
      const words = withoutEnd(foreignWords(error.message, createSecretMask(auth ? [auth.password] : [])));
      const cause = new DockerError(words, error.statusCode);
      throw pullFailure(input, type, aboutSecrets(input, type, auth, words), cause);
    } finally {
      clearTimeout(watchdog);
    }
  }

  async function checkPlatform(input: PullInput, image: ImageState, signal: AbortSignal): Promise<void> {
    const { platform } = await whileDockerIsAway(signal, () => docker.machine());
    if (image.platform === platform) return;
    throw pullFailure(input, 'ImageWrongPlatform', `it is for ${image.platform}, the node is ${platform}`);
  }
}

/** In Docker's words. */
const FETCHING = /^(?:Pulling fs layer|Downloading|Verifying Checksum|Retrying)/;

/** Sums up the layers of one pull. */
class PulledLayers {
  readonly #layers = new Map<string, { current: number; total: number; done: boolean; status: string }>();

  add({ id, status, progressDetail }: PullEvent): void {
    if (id === undefined || status === undefined || status.startsWith('Pulling from')) return;
    const layer = this.#layers.get(id) ?? { current: 0, total: 0, done: false, status };
    this.#layers.set(id, layer);
    layer.status = status;
    if (status === 'Downloading') {
      layer.current = progressDetail?.current ?? layer.current;
      layer.total = progressDetail?.total ?? layer.total;
    }
    if (status === 'Download complete' || status === 'Extracting') layer.current = layer.total;
    layer.done ||= status === 'Pull complete' || status === 'Already exists';
  }

  /** Whether nothing is asked of the registry, since Docker has not come to the layers that are missing. */
  get areQueued(): boolean {
    const statuses = [...this.#layers.values()].map(({ status }) => status);
    return statuses.includes('Waiting') && !statuses.some((status) => FETCHING.test(status));
  }

  get progress(): PullProgress {
    const layers = [...this.#layers.values()];
    return {
      downloadedBytes: layers.reduce((sum, layer) => sum + layer.current, 0),
      totalBytes: layers.reduce((sum, layer) => sum + layer.total, 0),
      layersDone: layers.filter((layer) => layer.done).length,
      layersTotal: layers.length,
    };
  }
}

/** Without a tag, the daemon would pull every tag of the repository. */
function withTag(image: string): string {
  const name = image.slice(image.lastIndexOf('/') + 1);
  return /[:@]/.test(name) ? image : `${image}:latest`;
}

/** In order: the first that fits the words of daemon or registry. */
const PULL_ERRORS: readonly (readonly [FailureType, RegExp])[] = [
  ['RegistryRateLimited', /toomanyrequests|too many requests|rate limit|(?<!disk )quota exceeded/i],
  ['PullDiskFull', /no space left on device|disk quota exceeded/i],
  [
    'ImageWrongPlatform',
    /no matching manifest|cannot be used on this platform|does not match the specified platform/i,
  ],
  ['RegistryTls', /x509|tls:|certificate|HTTP response to HTTPS client/i],
  // Docker Hub answers so for a repository that is not there, since it may also be a private one.
  [
    'ImageNotFound',
    /repository does not exist|manifest unknown|name unknown|not found|invalid reference format/i,
  ],
  // ECR's log-ins are good for 12 hours.
  ['ImageUnauthorized', /token (?:has |is )?expired/i],
  // The daemon's own words for its own machine, before what may be a registry's.
  [
    'DockerError',
    /\/var\/lib\/\S*: permission denied|failed to register layer: .*(?:cannot allocate memory|resource temporarily unavailable|too many open files)/i,
  ],
  ['ImageForbidden', /denied|forbidden|HTTP 403|not authorized/i],
  ['ImageUnauthorized', /unauthorized|authentication required|no basic auth credentials|HTTP 401/i],
  ['RegistryUnreachable', /no such host/i],
  [
    'RegistryDown',
    /dial tcp|connection re(?:fused|set)|timeout|deadline exceeded|unreachable|server misbehaving|EOF|received unexpected HTTP status: 5|HTTP 5\d\d|service unavailable|server closed|context canceled/i,
  ],
  // The daemon's own words for its own disk. All others may be a registry's, which are no reason to mistrust a node.
  ['DockerError', /content store|\/var\/lib\/|input\/output error|read-only file system/i],
];

/** @param loggedIn whether the registry was shown credentials: it refuses strangers and the unworthy in the same words. */
export function classifyPullError(message: string, loggedIn: boolean): FailureType {
  const type = PULL_ERRORS.find(([, pattern]) => pattern.test(message))?.[0] ?? 'ImageInvalid';
  if (type === 'ImageForbidden' && !loggedIn) return 'ImageUnauthorized';
  if (type === 'ImageNotFound' && loggedIn && /denied/i.test(message)) return 'ImageForbidden';
  return type;
}

/** Which secret was tried, or for which registry there is none, where that may be the reason. */
function aboutSecrets(
  { image, user }: PullInput,
  type: FailureType,
  auth: RegistryCredentials | undefined,
  words: string,
): string {
  const mayHelp =
    ['ImageUnauthorized', 'ImageForbidden', 'RegistryRateLimited'].includes(type) ||
    /docker login/.test(words);
  if (!mayHelp) return words;
  const registry = registryOfImage(image);
  return auth === undefined
    ? `${words}. ${user} has no docker secret for ${registry}`
    : `${words}. Secret ${auth.secret} for ${registry} was tried`;
}

function pullFailure(input: PullInput, type: FailureType, words: string, cause?: unknown): Error {
  const message = `Could not pull image ${input.image}: ${withoutEnd(words)}.`;
  return runFailure({ type, message, rank: input.rank, node: input.node }, cause);
}

function withoutEnd(sentence: string): string {
  return sentence.replace(/\.?\s*$/, '');
}
