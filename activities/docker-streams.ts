/** What the Docker daemon sends in streams: the progress of a pull, and files of containers. */
import { pipeline } from 'node:stream';
import type { Readable } from 'node:stream';
import { extract } from 'tar-stream';
import { asDockerError } from './docker-requests.ts';

/** One line of the daemon's pull progress. */
export interface PullEvent {
  readonly id?: string;
  readonly status?: string;
  readonly error?: string;
  readonly progressDetail?: { readonly current?: number; readonly total?: number };
}

/** Ends with the pull, or with the signal, which throws its reason. @throws DockerError */
export async function* pullEvents(stream: Readable, signal: AbortSignal): AsyncIterable<PullEvent> {
  const stop = (): void => void stream.destroy();
  signal.addEventListener('abort', stop, { once: true });
  try {
    let rest = '';
    for await (const chunk of stream.setEncoding('utf8')) {
      const lines = (rest + String(chunk)).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line.trim() !== '') yield JSON.parse(line) as PullEvent;
    }
  } catch (error) {
    signal.throwIfAborted();
    throw asDockerError(error);
  } finally {
    signal.removeEventListener('abort', stop);
    stream.destroy();
  }
  signal.throwIfAborted();
}

/** Far more than any file of ours. */
const MAX_FILE_BYTES = 1_048_576;

/**
 * The text of the first file of an archive; undefined when it is none of ours: what a program has put in the place of one
 * may be of any kind, and have any size.
 */
export async function firstFile(archive: Readable): Promise<string | undefined> {
  const files = extract();
  // Ends the one when the other ends or breaks.
  pipeline(archive, files, () => undefined);
  for await (const entry of files) {
    const { type, size } = entry.header;
    if (type !== 'file' || size > MAX_FILE_BYTES) return undefined;
    const chunks: Buffer[] = [];
    for await (const chunk of entry) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString('utf8');
  }
  return undefined;
}
