/**
 * A few calls of Docker's HTTP interface, which set-up needs before any agent runs: is it there, which images has it.
 * Over its socket, so that no docker command has to be installed.
 */
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import type { Readable } from 'node:stream';

export interface DockerAnswer {
  readonly status: number;
  readonly body: string;
}

export type DockerHealth =
  | { readonly reachable: true; readonly host: string; readonly version: string }
  | { readonly reachable: false; readonly host: string; readonly code: string; readonly why: string };

const PING_TIMEOUT_MS = 3_000;

/** Where Docker may listen, best first: what is configured, the system's daemon, a daemon of this user. */
function dockerHosts(configured: string | undefined): readonly string[] {
  if (configured !== undefined && configured !== '') return [configured];
  const runtimeDir = process.env['XDG_RUNTIME_DIR'];
  return [
    'unix:///var/run/docker.sock',
    ...(runtimeDir === undefined ? [] : [`unix://${runtimeDir}/docker.sock`]),
    `unix://${path.join(os.homedir(), '.docker/run/docker.sock')}`,
  ];
}

/** Asks the first host that answers; when none does, tells what the first said. */
export async function dockerHealth(configured: string | undefined): Promise<DockerHealth> {
  const failures: DockerHealth[] = [];
  for (const host of dockerHosts(configured)) {
    try {
      const { status, body } = await dockerRequest(host, { path: '/version', timeoutMs: PING_TIMEOUT_MS });
      if (status === 200) {
        return { reachable: true, host, version: (JSON.parse(body) as { Version: string }).Version };
      }
      failures.push({ reachable: false, host, code: `HTTP ${status}`, why: body.trim().slice(0, 200) });
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      failures.push({ reachable: false, host, code: code ?? '', why: message });
    }
  }
  // A daemon that refuses this user is more telling than one that is not there.
  const telling = failures.find((failure) => !failure.reachable && failure.code === 'EACCES') ?? failures[0];
  return telling as DockerHealth;
}

/** Rejects when Docker can't be reached, or is silent for `timeoutMs`. */
export function dockerRequest(
  host: string,
  request: {
    readonly path: string;
    readonly method?: 'GET' | 'POST';
    readonly timeoutMs: number;
    readonly body?: Readable;
    readonly contentType?: string;
    /** Gets the answer piece by piece, for answers that report progress. */
    readonly onText?: (text: string) => void;
  },
): Promise<DockerAnswer> {
  return new Promise((resolve, reject) => {
    const outgoing = http.request(
      {
        ...address(host),
        path: request.path,
        method: request.method ?? 'GET',
        timeout: request.timeoutMs,
        headers: request.contentType === undefined ? {} : { 'content-type': request.contentType },
      },
      (incoming) => {
        let body = '';
        incoming.setEncoding('utf8');
        incoming.on('data', (text: string) => {
          body += text;
          request.onText?.(text);
        });
        incoming.on('error', reject);
        incoming.on('end', () => resolve({ status: incoming.statusCode ?? 0, body }));
      },
    );
    outgoing.on('timeout', () =>
      outgoing.destroy(new Error(`no answer from ${host} for ${request.timeoutMs / 1000} s`)),
    );
    outgoing.on('error', reject);
    if (request.body === undefined) outgoing.end();
    else request.body.on('error', (error) => outgoing.destroy(error)).pipe(outgoing);
  });
}

function address(host: string): http.RequestOptions {
  if (host.startsWith('unix://')) return { socketPath: host.slice('unix://'.length) };
  const { protocol, hostname, port } = new URL(host);
  if (protocol !== 'tcp:' && protocol !== 'http:') {
    throw new Error(`DOCKER_HOST=${host} is not supported: use a unix:// or tcp:// address`);
  }
  return { host: hostname, port: port === '' ? 2375 : Number(port) };
}
