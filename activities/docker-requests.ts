/** How the Docker daemon is asked: every request is bounded in time, and errors carry the daemon's own words. */
import type { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type Dockerode from 'dockerode';

/** The daemon refused, failed, is away, or does not answer. */
export class DockerError extends Error {
  /** HTTP status; absent when the daemon was not reached. */
  readonly statusCode: number | undefined;

  constructor(message: string, statusCode?: number, cause?: unknown) {
    super(message, { cause });
    this.name = 'DockerError';
    this.statusCode = statusCode;
  }

  /** The daemon was not reached, hung up, or did not answer: another time it may. */
  get unreachable(): boolean {
    return this.statusCode === undefined;
  }
}

/** The daemon is there, and did not answer in time: so are its containers. */
export class DockerSilent extends DockerError {}

/** Creating, starting and killing take well under a second; a daemon that needs this long is stuck. */
const REQUEST_TIMEOUT_MS = 60_000;

/** For requests that may take as long as they need. @throws DockerError */
export async function asked<T>(request: Promise<T>): Promise<T> {
  try {
    return await request;
  } catch (error) {
    throw asDockerError(error);
  }
}

type Limited<T> = (limit: { readonly abortSignal: AbortSignal }) => Promise<T>;

/** For requests that the daemon answers at once, unless they say otherwise. @throws DockerError */
export async function answered<T>(request: Limited<T>, timeoutMs = REQUEST_TIMEOUT_MS): Promise<T> {
  const abortSignal = AbortSignal.timeout(timeoutMs);
  // dockerode never answers when the connection breaks in the middle of a response.
  const late = Promise.withResolvers<never>();
  abortSignal.addEventListener('abort', () => late.reject(abortSignal.reason), { once: true });
  try {
    return await Promise.race([asked(request({ abortSignal })), late.promise]);
  } catch (error) {
    if (!abortSignal.aborted) throw error;
    throw silent(timeoutMs, error);
  }
}

/** For requests whose answer goes on for longer: its beginning comes at once. @throws DockerError */
export async function opened<T>(request: Limited<T>): Promise<T> {
  const opening = new AbortController();
  const late = setTimeout(() => opening.abort(), REQUEST_TIMEOUT_MS);
  try {
    return await asked(request({ abortSignal: opening.signal }));
  } catch (error) {
    throw opening.signal.aborted ? silent(REQUEST_TIMEOUT_MS, error) : error;
  } finally {
    clearTimeout(late);
  }
}

/** @returns undefined where the daemon says that there is no such thing */
export async function absentAsUndefined<T>(request: Limited<T>): Promise<T | undefined> {
  try {
    return await answered(request);
  } catch (error) {
    if (error instanceof DockerError && error.statusCode === 404) return undefined;
    throw error;
  }
}

/** @param statusCode by which the daemon says that it is so already */
export async function unlessAlready(
  statusCode: number,
  request: Limited<unknown>,
  timeoutMs?: number,
): Promise<void> {
  try {
    await answered(request, timeoutMs);
  } catch (error) {
    if (error instanceof DockerError && error.statusCode === statusCode) return;
    throw error;
  }
}

function silent(timeoutMs: number, cause: unknown): DockerSilent {
  return new DockerSilent(`The daemon did not answer within ${timeoutMs / 1000} s.`, undefined, cause);
}

/** What dockerode throws, in the words of the daemon; an abortion stays one. */
export function asDockerError(error: unknown): unknown {
  if (!(error instanceof Error) || error.name === 'AbortError') return error;
  const { statusCode, json } = error as { statusCode?: number; json?: { message?: string } };
  // dockerode puts the status in front of the daemon's words where an answer is a stream.
  const words = json?.message ?? error.message.replace(/^\(HTTP code \d+\) [a-z -]+? - /, '').trim();
  return new DockerError(words, statusCode, error);
}

interface StreamedRequest {
  readonly path: string;
  readonly method: 'POST';
  readonly abortSignal: AbortSignal;
}

/**
 * A request whose response comes later than its head. dockerode would wait for ever when the daemon is killed in
 * between; the stream itself tells.
 */
export async function streamed(dockerode: Dockerode, request: StreamedRequest): Promise<void> {
  const statusCodes = { 200: true, 404: 'no such container', 500: 'server error' };
  const { promise, resolve, reject } = Promise.withResolvers<Readable>();
  const { modem } = dockerode as unknown as { readonly modem: Modem };
  modem.dial({ ...request, isStream: true, statusCodes }, (error, response) => {
    if (response) resolve(response);
    else reject(error instanceof Error ? error : new Error(String(error)));
  });
  const response = await asked(promise);
  await asked(finished(response.resume()));
}

interface Modem {
  dial(options: object, done: (error: unknown, response: Readable | null) => void): void;
}
