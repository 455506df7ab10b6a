/**
 * The files by which runs report their progress: one for each container, which sees the file and nothing around it, and
 * so leaves nothing on this machine but what is in it. That is the run's own: it is opened as if by a stranger.
 */
import { constants } from 'node:fs';
import { chmod, mkdir, open, readdir, rm, stat, writeFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { RankRef } from '../core/naming.ts';
import { containerName } from '../core/naming.ts';
import { parseReport } from '../core/progress.ts';
import type { ProgressLines } from '../core/progress.ts';
import type { ContainerAdditions } from './container-config.ts';

export interface ProgressFiles {
  /** Makes the file, and says where the container sees it. */
  additions(ref: RankRef): Promise<ContainerAdditions>;
  /** @param from how much of the file was read before, in bytes */
  reader(ref: RankRef, from: number): ProgressReader;
  remove(ref: RankRef): Promise<void>;
  /** Removes what containers have left that vanished behind the agent's back. */
  sweep(isThere: (container: string) => Promise<boolean>): Promise<void>;
}

export interface ProgressReader {
  /** How much of the file has been read, in bytes: to the end of a line. */
  readonly position: number;
  /**
   * What came since the last time; of very much, the newest.
   * @param last takes a line for whole that has no end
   */
  read(last: boolean): AsyncIterable<ProgressLines>;
}

const FILE_NAME = 'progress.jsonl';
const FILE_IN_CONTAINER = `/mnt/mcli-progress/${FILE_NAME}`;
/** A container is made within moments of its file, but Docker may be away meanwhile. */
const SWEEP_AFTER_MS = 15 * 60_000;
/** One report; what is longer is passed over. */
const MAX_LINE_BYTES = 64 * 1024;
/** Of one reading: an hour of a run that writes 4 KiB a second, or ten lines. The end of a run waits for the last. */
const MAX_READ_BYTES = 16 * 1024 ** 2;
const MAX_READ_LINES = 10_000;
const NEWLINE = 0x0a;

export function createProgressFiles(stateDirectory: string): ProgressFiles {
  const all = join(stateDirectory, 'progress');
  const folderOf = (ref: RankRef): string => join(all, containerName(ref));
  return {
    async additions(ref) {
      const folder = folderOf(ref);
      const file = join(folder, FILE_NAME);
      // A container that is made again begins again.
      await rm(folder, { recursive: true, force: true });
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await writeFile(file, '');
      // Whatever user the image has. The folders above it are closed.
      await chmod(file, 0o666);
      return {
        mounts: [{ source: file, target: FILE_IN_CONTAINER, readOnly: false }],
        environment: { MCLI_PROGRESS_FILE: FILE_IN_CONTAINER },
      };
    },
    reader: (ref, from) => new FileReader(join(folderOf(ref), FILE_NAME), from),
    remove: (ref) => rm(folderOf(ref), { recursive: true, force: true }),
    async sweep(isThere) {
      for (const container of await readdir(all).catch(() => [])) {
        const folder = join(all, container);
        const { mtimeMs } = await stat(folder);
        if (Date.now() - mtimeMs < SWEEP_AFTER_MS || (await isThere(container))) continue;
        await rm(folder, { recursive: true, force: true });
      }
    },
  };
}

/** Linux's `O_PATH`, which Node does not name: takes hold of what has this name, and does not open it. */
const O_PATH = 0o10000000;

class FileReader implements ProgressReader {
  position: number;
  readonly #path: string;
  readonly #buffer = Buffer.alloc(MAX_LINE_BYTES);
  /** Why the line that is read is passed over up to its end: it is too long, or its beginning was not read. */
  #passingOver: string | undefined;

  constructor(path: string, from: number) {
    this.#path = path;
    this.position = from;
  }

  async *read(last: boolean): AsyncIterable<ProgressLines> {
    const file = await this.#open();
    if (file === undefined) return;
    try {
      const stat = await file.stat();
      // The run has begun it anew.
      if (stat.size < this.position) {
        this.position = 0;
        this.#passingOver = undefined;
      }
      const at = Math.min(stat.mtimeMs, Date.now());
      // A file may claim any size, and hold nothing.
      if (stat.size - this.position > MAX_READ_BYTES) {
        this.position = stat.size - MAX_READ_BYTES;
        this.#passingOver = tooMuch(`${MAX_READ_BYTES} bytes`);
      }
      if (await this.#skipOldLines(file, stat.size)) {
        yield { reports: [], problem: tooMuch(`${MAX_READ_LINES} lines`), at };
      }
      // What is written meanwhile is for the next time: this one has an end.
      while (this.position < stat.size) {
        const lines = await this.#next(file, last);
        if (lines === undefined) break;
        yield { ...lines, at };
      }
    } finally {
      await file.close();
    }
  }

  /** The run may put anything there: a link, a pipe, a device, which to open may do something. */
  async #open(): Promise<FileHandle | undefined> {
    // Not there at the moment, perhaps.
    const held = await open(this.#path, O_PATH | constants.O_NOFOLLOW).catch(() => undefined);
    try {
      if (held === undefined || !(await held.stat()).isFile()) return undefined;
      // What is held, whatever has its name by now.
      return await open(`/proc/self/fd/${held.fd}`, constants.O_RDONLY);
    } finally {
      await held?.close();
    }
  }

  /** Before anything is made of them: very many very short lines take longer than the run may be held up. */
  async #skipOldLines(file: FileHandle, size: number): Promise<boolean> {
    let lines = 0;
    // Few bytes cannot be many lines.
    let end = size - this.position > MAX_READ_LINES ? size : this.position;
    while (end > this.position) {
      const start = Math.max(this.position, end - MAX_LINE_BYTES);
      const { bytesRead } = await file.read(this.#buffer, 0, end - start, start);
      for (let at = bytesRead - 1; at >= 0; at -= 1) {
        if (this.#buffer[at] === NEWLINE) lines += 1;
        if (lines <= MAX_READ_LINES) continue;
        this.position = start + at + 1;
        this.#passingOver = undefined;
        return true;
      }
      end = start;
    }
    return false;
  }

  async #next(file: FileHandle, last: boolean): Promise<Omit<ProgressLines, 'at'> | undefined> {
    const { bytesRead } = await file.read(this.#buffer, 0, MAX_LINE_BYTES, this.position);
    const chunk = this.#buffer.subarray(0, bytesRead);
    const isEnd = bytesRead < MAX_LINE_BYTES;
    const end = chunk.lastIndexOf('\n') + 1 || (last && isEnd ? bytesRead : 0);
    if (end === 0) {
      if (isEnd) return undefined;
      this.position += bytesRead;
      this.#passingOver ??= `A line is longer than ${MAX_LINE_BYTES} bytes.`;
      return { reports: [] };
    }
    this.position += end;
    const lines = chunk.subarray(0, end).toString('utf8').split('\n');
    const passedOver = this.#passingOver;
    if (passedOver !== undefined) lines.shift();
    this.#passingOver = undefined;
    const parsed = lines.filter((line) => line.trim() !== '').map(parseReport);
    const problem = parsed.findLast((result) => 'problem' in result)?.problem ?? passedOver;
    return {
      reports: parsed.flatMap(({ report }) => report ?? []),
      ...(problem !== undefined && { problem }),
    };
  }
}

function tooMuch(most: string): string {
  return `More than ${most} came at once: only the newest are read.`;
}
