/** Requests to an MLflow server: bounded in time, their answers in size, and credentials in none of their errors. */
import { createSecretMask } from '../core/secret-mask.ts';
import { foreignWords } from './foreign-words.ts';
import { credentialsOf, MlflowError } from './mlflow-server.ts';
import type { MlflowServer } from './mlflow-server.ts';

/** @throws MlflowError */
export type MlflowRequest = <T>(method: 'GET' | 'POST' | 'PUT', path: string, body?: string) => Promise<T>;

/** Of a run with thousands of metrics and parameters. */
const MAX_ANSWER_BYTES = 16 * 1024 ** 2;

/** @param signal ends all requests, besides `timeoutMs`, which ends each */
export function createMlflowRequest(
  server: MlflowServer,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): MlflowRequest {
  return async <T>(method: 'GET' | 'POST' | 'PUT', path: string, body?: string): Promise<T> => {
    const limit = AbortSignal.timeout(timeoutMs);
    let answer: Answer;
    try {
      const response = await fetch(`${server.url}${path}`, {
        method,
        ...(body !== undefined && { body }),
        headers: {
          ...(method === 'POST' && { 'content-type': 'application/json' }),
          ...(method === 'PUT' && { 'content-type': 'text/plain' }),
          ...(server.authorization !== undefined && { authorization: server.authorization }),
        },
        // Credentials stay with the address that the user has named.
        redirect: 'manual',
        signal: signal ? AbortSignal.any([limit, signal]) : limit,
      });
      answer = { status: response.status, text: await readBounded(response) };
    } catch (error) {
      if (error instanceof MlflowError) throw error;
      throw new MlflowError(`MLflow at ${server.url} does not answer: ${silence(error, timeoutMs)}.`);
    }
    const isMlflow = answer.status >= 200 && answer.status < 300 && parse(answer.text) !== undefined;
    if (!isMlflow) throw refusal(server, answer);
    return parse(answer.text) as T;
  };
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

interface Refusal {
  readonly error_code?: unknown;
  readonly message?: unknown;
}

async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > MAX_ANSWER_BYTES)
      throw new MlflowError(`MLflow's answer is longer than ${MAX_ANSWER_BYTES} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Undefined where MLflow's would be: a page for people, as of a log-in. */
function parse(text: string): object | undefined {
  try {
    return Object(JSON.parse(text)) as object;
  } catch {
    return undefined;
  }
}

/** Errors of the network come as a cause. What `fetch` itself says quotes what it refuses, credentials too. */
function silence(error: unknown, timeoutMs: number): string {
  if (error instanceof DOMException && error.name === 'TimeoutError')
    return `not within ${timeoutMs / 1_000} s`;
  const cause = error instanceof Error ? error.cause : undefined;
  if (!(cause instanceof Error)) return 'the request was not sent, or was given up';
  // Of a host with several addresses, none of which answers, there is only the code.
  return cause.message || (cause as NodeJS.ErrnoException).code || cause.name;
}

/** Only what MLflow itself says is quoted: an address that is no MLflow may answer with anything. */
function refusal(server: MlflowServer, { status, text }: Answer): MlflowError {
  const { url } = server;
  const { error_code: code, message } = (parse(text) ?? {}) as Refusal;
  const isMlflow = typeof code === 'string';
  if (status === 401 || status === 403) {
    return new MlflowError(
      `MLflow at ${url} refuses the credentials (${status}): are MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, right?`,
      isMlflow ? code : undefined,
    );
  }
  if (!isMlflow) return new MlflowError(`What answers at ${url} is no MLflow server (HTTP ${status}).`);
  const [said] = typeof message === 'string' ? message.split('\n') : [];
  const words = foreignWords(said || code, createSecretMask(credentialsOf(server)));
  return new MlflowError(`MLflow at ${url} refuses: ${words}`, code);
}
