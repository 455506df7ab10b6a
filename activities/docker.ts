/**
 * Docker as the node agent uses it: what is asked of the daemon, and what of its answers matters. Every call is one
 * request, bounded in time unless it follows something. @throws DockerError
 */
import { dirname } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import Dockerode from 'dockerode';
import { pack } from 'tar-stream';
import {
  absentAsUndefined,
  answered,
  asked,
  DockerError,
  opened,
  streamed,
  unlessAlready,
} from './docker-requests.ts';
import { firstFile, pullEvents } from './docker-streams.ts';
import type { PullEvent } from './docker-streams.ts';

export interface ContainerState {
  readonly id: string;
  readonly status: 'created' | 'running' | 'exited' | 'removing';
  readonly exitCode: number;
  readonly oomKilled: boolean;
  readonly paused: boolean;
  readonly memoryLimitBytes: number;
  /** ISO 8601; the year 1 before the first start. */
  readonly startedAt: string;
  readonly finishedAt: string;
}

export interface ListedContainer {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** A file to put into a container; its path is absolute. */
export interface ContainerFile {
  readonly path: string;
  readonly content: string;
  /** 0644 when absent. */
  readonly mode?: number;
}

export interface ImageState {
  readonly id: string;
  /** As in `linux/amd64`. */
  readonly platform: string;
  /** Who runs its programs: a name or a number, perhaps with a group after `:`; empty for root. */
  readonly user: string;
}

export type RegistryLogin = Pick<Dockerode.AuthConfigObject, 'username' | 'password' | 'serveraddress'>;

/** What a container has used and uses now. */
export interface ContainerStats {
  /** Epoch milliseconds. */
  readonly at: number;
  /** Since its start, over all cores. */
  readonly cpuMs: number;
  /** Without what the kernel would give back at once. */
  readonly memoryBytes: number;
  readonly memoryLimitBytes: number;
}

export interface StoredImage {
  readonly id: string;
  /** Like `bash:latest`; empty when another image has taken its name. */
  readonly names: readonly string[];
  /** Layers that it shares with other images included. */
  readonly bytes: number;
}

export type ContainerConfig = Dockerode.ContainerCreateOptions & { readonly name: string };

export interface Docker {
  /** Platform and memory of the machine that runs the containers, and its folder of images and containers. */
  machine(): Promise<{
    readonly platform: string;
    readonly memoryBytes: number;
    readonly dataRoot: string;
  }>;
  /** Whether the daemon keeps containers while it is away (`live-restore`); asked anew each time. */
  keepsContainers(): Promise<boolean>;
  image(name: string): Promise<ImageState | undefined>;
  /** Ends when the daemon is done or the signal aborts, which makes the daemon give up the download. */
  pull(name: string, signal: AbortSignal, login?: RegistryLogin): AsyncIterable<PullEvent>;
  inspect(name: string): Promise<ContainerState | undefined>;
  /** All containers that have these labels, running or not. */
  list(labels: Readonly<Record<string, string>>): Promise<ListedContainer[]>;
  /** @returns false when a container of this name is there already. */
  create(config: ContainerConfig): Promise<boolean>;
  putFiles(name: string, files: readonly ContainerFile[]): Promise<void>;
  /** The text of a file in the container, which need not run; undefined when none is there that we could have put. */
  readFile(name: string, path: string): Promise<string | undefined>;
  fileExists(name: string, path: string): Promise<boolean>;
  start(name: string): Promise<void>;
  /** Resolves when the container does not run (any more). */
  waitForExit(name: string, signal: AbortSignal): Promise<void>;
  /** A container that is not paused stays as it is. */
  unpause(name: string): Promise<void>;
  /** A container that does not run stays as it is. */
  kill(name: string, signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  /** Resolves when it is gone, whoever removes it. */
  remove(name: string): Promise<void>;
  /**
   * Docker's multiplexed frames from the first on, each with its time in front, until the container stops; of a
   * container that does not run, what there is. `tail` keeps the last entries only.
   */
  logs(name: string, tail?: number): Promise<Readable>;
  /** Undefined when it does not run. */
  stats(name: string): Promise<ContainerStats | undefined>;
  /** Resolves when the daemon can list its containers, which takes more of it than being there. */
  check(signal: AbortSignal): Promise<void>;
  images(): Promise<StoredImage[]>;
  /** Ids of the images of all containers, whosever they are. */
  imagesInUse(): Promise<Set<string>>;
  /** Of an image with other names, the name only. @throws DockerError 409 when a container uses it. */
  removeImage(nameOrId: string): Promise<void>;
}

/** @param host as in DOCKER_HOST; the local socket when absent. */
export function createDocker(host?: string): Docker {
  const dockerode = new Dockerode(connection(host));
  // Asked once: it costs the daemon tens of milliseconds, and every pull wants to know.
  let machine: ReturnType<Docker['machine']> | undefined;
  return {
    machine() {
      machine ??= describeMachine(dockerode).catch((error: unknown) => {
        machine = undefined;
        throw error;
      });
      return machine;
    },

    async keepsContainers() {
      const info = (await answered(() => dockerode.info())) as { LiveRestoreEnabled: boolean };
      return info.LiveRestoreEnabled;
    },

    async image(name) {
      const found = await absentAsUndefined(() => dockerode.getImage(name).inspect());
      return (
        found && { id: found.Id, platform: `${found.Os}/${found.Architecture}`, user: found.Config.User }
      );
    },

    async *pull(name, signal, login) {
      const options = { abortSignal: signal, ...(login && { authconfig: login }) };
      const stream = await asked(dockerode.pull(name, options));
      yield* pullEvents(stream as Readable, signal);
    },

    async inspect(name) {
      const found = await absentAsUndefined((limit) => dockerode.getContainer(name).inspect(limit));
      return found && containerState(found);
    },

    async list(labels) {
      const label = Object.entries(labels).map(([name, value]) => `${name}=${value}`);
      const found = await answered((limit) =>
        dockerode.listContainers({ all: true, filters: { label }, ...limit }),
      );
      return found.map(({ Id: id, Labels: labels }) => ({ id, labels }));
    },

    async create(config) {
      try {
        await answered((limit) => dockerode.createContainer({ ...config, ...limit }));
        return true;
      } catch (error) {
        if (error instanceof DockerError && error.statusCode === 409) return false;
        throw error;
      }
    },

    async putFiles(name, files) {
      const archive = pack();
      for (const directory of new Set(files.map((file) => dirname(file.path)))) {
        if (directory !== '/') archive.entry({ name: directory.slice(1), type: 'directory', mode: 0o755 });
      }
      for (const { path, content, mode = 0o644 } of files)
        archive.entry({ name: path.slice(1), mode }, content);
      archive.finalize();
      const chunks: Uint8Array[] = [];
      for await (const chunk of archive) chunks.push(chunk as Uint8Array);
      const whole = Buffer.concat(chunks);
      await answered((limit) => dockerode.getContainer(name).putArchive(whole, { path: '/', ...limit }));
    },

    async readFile(name, path) {
      return await absentAsUndefined(async (limit) => {
        const archive = await dockerode.getContainer(name).getArchive({ path, ...limit });
        return await firstFile(archive as Readable);
      });
    },

    async fileExists(name, path) {
      const found = await absentAsUndefined((limit) =>
        dockerode.getContainer(name).infoArchive({ path, ...limit }),
      );
      // The stream carries headers only; left unread it would hold its connection.
      (found as Readable | undefined)?.resume();
      return found !== undefined;
    },

    async start(name) {
      await unlessAlready(304, (limit) => dockerode.getContainer(name).start(limit));
    },

    async waitForExit(name, signal) {
      const path = `/containers/${encodeURIComponent(name)}/wait`;
      await streamed(dockerode, { path, method: 'POST', abortSignal: signal });
    },

    async unpause(name) {
      try {
        await answered((limit) => dockerode.getContainer(name).unpause(limit));
      } catch (error) {
        if (!(error instanceof DockerError && /is not paused/.test(error.message))) throw error;
      }
    },

    async kill(name, signal) {
      await unlessAlready(409, (limit) => dockerode.getContainer(name).kill({ signal, ...limit }));
    },

    async remove(name) {
      const deadline = performance.now() + REMOVE_TIMEOUT_MS;
      const container = dockerode.getContainer(name);
      for (;;) {
        try {
          const request = (limit: object) => container.remove({ v: true, force: true, ...limit });
          await unlessAlready(404, request, REMOVE_TIMEOUT_MS);
          return;
        } catch (error) {
          // Somebody else's removal, or one of before that nobody has waited for: when it is over, so is this.
          if (!isAlreadyUnderWay(error) || performance.now() > deadline) throw error;
          await sleep(REMOVE_AGAIN_MS);
        }
      }
    },

    async logs(name, tail) {
      const options = { follow: true as const, stdout: true, stderr: true, timestamps: true };
      const limited = tail === undefined ? options : { ...options, tail };
      const answer = await opened((limit) => dockerode.getContainer(name).logs({ ...limited, ...limit }));
      return answer as Readable;
    },

    async stats(name) {
      const found = await absentAsUndefined((limit) =>
        dockerode.getContainer(name).stats({ stream: false, 'one-shot': true, ...limit }),
      );
      return found && containerStats(found);
    },

    async check(abortSignal) {
      await asked(dockerode.listContainers({ limit: 1, abortSignal }));
    },

    async images() {
      const found = await answered((limit) => dockerode.listImages(limit));
      return found.map(({ Id: id, RepoTags: tags, Size: bytes }) => ({
        id,
        names: (tags ?? []).filter((name) => name !== '<none>:<none>'),
        bytes,
      }));
    },

    async imagesInUse() {
      const found = await answered((limit) => dockerode.listContainers({ all: true, ...limit }));
      return new Set(found.map(({ ImageID }) => ImageID));
    },

    async removeImage(nameOrId) {
      await unlessAlready(404, (limit) => dockerode.getImage(nameOrId).remove(limit));
    },
  };
}

/** To delete what a container has written may take minutes. */
const REMOVE_TIMEOUT_MS = 15 * 60_000;
const REMOVE_AGAIN_MS = 500;

function isAlreadyUnderWay(error: unknown): boolean {
  return (
    error instanceof DockerError && error.statusCode === 409 && /already in progress/.test(error.message)
  );
}

async function describeMachine(dockerode: Dockerode): ReturnType<Docker['machine']> {
  const info = (await answered(() => dockerode.info())) as {
    OSType: string;
    MemTotal: number;
    DockerRootDir: string;
  };
  const version = await answered(() => dockerode.version());
  return {
    platform: `${info.OSType}/${version.Arch}`,
    memoryBytes: info.MemTotal,
    dataRoot: info.DockerRootDir,
  };
}

function connection(host: string | undefined): Dockerode.DockerOptions {
  if (host === undefined) return { socketPath: '/var/run/docker.sock' };
  if (host.startsWith('unix://')) return { socketPath: host.slice('unix://'.length) };
  const url = new URL(host);
  return { host: url.hostname, port: url.port || '2375', protocol: 'http' };
}

/** The others (exited, dead, paused) say nothing more than that it does not run. */
const STOPPED_STATUSES = ['created', 'removing'] as const;

function containerState(found: Dockerode.ContainerInspectInfo): ContainerState {
  const { State: state } = found;
  return {
    id: found.Id,
    status: state.Running
      ? 'running'
      : (STOPPED_STATUSES.find((plain) => plain === state.Status) ?? 'exited'),
    exitCode: state.ExitCode,
    oomKilled: state.OOMKilled,
    paused: state.Paused,
    memoryLimitBytes: found.HostConfig.Memory ?? 0,
    startedAt: state.StartedAt,
    finishedAt: state.FinishedAt,
  };
}

function containerStats(found: Dockerode.ContainerStats): ContainerStats | undefined {
  const { usage, limit, stats } = found.memory_stats;
  if (usage === undefined) return undefined;
  // Unused files of the page cache; the first name is that of control groups of version 1.
  const inactive =
    (stats as Partial<typeof stats> | undefined)?.total_inactive_file ?? stats?.inactive_file ?? 0;
  return {
    at: Date.parse(found.read),
    cpuMs: found.cpu_stats.cpu_usage.total_usage / 1_000_000,
    memoryBytes: usage - inactive,
    memoryLimitBytes: limit,
  };
}
