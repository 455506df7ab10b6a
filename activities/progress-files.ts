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
import type { ProgressReport } from '../core/progress.ts';
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

/** Some lines that were read together. */
export interface ProgressLines {
  readonly reports: readonly ProgressReport[];
  /** What is wrong with the last of the lines that are no reports; absent when all are. */
  readonly problem?: string;
  /** When the file was written last, epoch milliseconds. */
  readonly at: number;
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
/** Of one reading: an hour of a run that writes 4 KiB a second. The end of a run waits for the last of them. */
const MAX_READ_BYTES = 16 * 1024 ** 2;

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

/** Not through a link that the run may have put there, and without waiting for the other end of a pipe. */
const SAFELY = constants.O_NOFOLLOW | constants.O_NONBLOCK;

class FileReader implements ProgressReader {
  position: number;
  readonly #path: string;
  readonly #buffer = Buffer.alloc(MAX_LINE_BYTES);
  /** True inside of a line that is too long, or whose beginning was not read. */
  #isPassingOver = false;

  constructor(path: string, from: number) {
    this.#path = path;
    this.position = from;
  }

  async *read(last: boolean): AsyncIterable<ProgressLines> {
    const file = await this.#open();
    if (file === undefined) return;
    try {
      const stat = await file.stat();
      if (!stat.isFile()) return;
      // The run has begun it anew.
      if (stat.size < this.position) {
        this.position = 0;
        this.#isPassingOver = false;
      }
      const at = Math.min(stat.mtimeMs, Date.now());
      // A file may claim any size, and hold nothing.
      if (stat.size - this.position > MAX_READ_BYTES) {
        this.position = stat.size - MAX_READ_BYTES;
        this.#isPassingOver = true;
        yield { reports: [], problem: `more than ${MAX_READ_BYTES} bytes came at once`, at };
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

  async #open(): Promise<FileHandle | undefined> {
    try {
      return await open(this.#path, constants.O_RDONLY | SAFELY);
    } catch {
      // Not there, or something that is no file.
      return undefined;
    }
  }

  async #next(file: FileHandle, last: boolean): Promise<Omit<ProgressLines, 'at'> | undefined> {
    const { bytesRead } = await file.read(this.#buffer, 0, MAX_LINE_BYTES, this.position);
    const chunk = this.#buffer.subarray(0, bytesRead);
    const isEnd = bytesRead < MAX_LINE_BYTES;
    const end = chunk.lastIndexOf('\n') + 1 || (last && isEnd ? bytesRead : 0);
    if (end === 0) {
      if (isEnd) return undefined;
      this.position += bytesRead;
      this.#isPassingOver = true;
      return { reports: [] };
    }
    this.position += end;
    const lines = chunk.subarray(0, end).toString('utf8').split('\n');
    const tooLong = this.#isPassingOver && { problem: `it is longer than ${MAX_LINE_BYTES} bytes` };
    if (this.#isPassingOver) lines.shift();
    this.#isPassingOver = false;
    const parsed = lines.filter((line) => line.trim() !== '').map(parseReport);
    return {
      ...tooLong,
      ...parsed.findLast((result) => 'problem' in result),
      reports: parsed.flatMap((result) => ('report' in result ? [result.report] : [])),
    };
  }
}
