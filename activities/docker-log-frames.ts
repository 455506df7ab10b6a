/**
 * Reads Docker's log stream: frames of an 8-byte header (stream, three zeros, length) and a payload that starts with
 * the entry's time. Bytes come in chunks that end anywhere.
 */
import type { LogEntry } from '../core/log-entries.ts';
import { DockerError } from './docker-requests.ts';

const FRAME_HEADER_BYTES = 8;
const STDERR = 2;
const SYSTEM_ERROR = 3;
const SPACE = 0x20;
const NEWLINE = Buffer.from('\n');
/** Docker stores longer lines in pieces of this size. */
const PIECE_BYTES = 16_384;

/** False for a piece of a line that goes on in the next entry of its stream. */
export function endsLine(bytes: Uint8Array): boolean {
  return bytes.at(-1) === NEWLINE[0] || bytes.length < PIECE_BYTES;
}

export class DockerLogFrames {
  #rest: Buffer = Buffer.alloc(0);
  readonly #inLongLine = { stdout: false, stderr: false };
  #second = '';
  #secondNs = 0n;

  /**
   * The entries that this chunk completes, one by one.
   * @throws DockerError behind the last entry when Docker says in the stream that it cannot go on
   */
  *push(chunk: Buffer): Generator<LogEntry, void> {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    while (at + FRAME_HEADER_BYTES <= bytes.length) {
      const start = at + FRAME_HEADER_BYTES;
      const end = start + bytes.readUInt32BE(at + 4);
      if (end > bytes.length) break;
      const payload = bytes.subarray(start, end);
      if (bytes[at] === SYSTEM_ERROR) throw new DockerError(payload.toString('utf8').trim());
      yield this.#entry(bytes[at] === STDERR ? 'stderr' : 'stdout', payload);
      at = end;
    }
    this.#rest = bytes.subarray(at);
  }

  /**
   * Docker's `local` driver forgets the newline of a line that it stored in pieces (seen in 20.10): the piece that is
   * shorter than the others is the last one, and gets its newline back.
   */
  #entry(stream: LogEntry['stream'], payload: Buffer): LogEntry {
    const space = payload.indexOf(SPACE);
    const timeNs = this.#time(payload.toString('latin1', 0, space));
    const bytes = payload.subarray(space + 1);
    const ends = endsLine(bytes);
    const isLastPiece = this.#inLongLine[stream] && ends && bytes.at(-1) !== NEWLINE[0];
    this.#inLongLine[stream] = !ends;
    return { stream, timeNs, bytes: isLastPiece ? Buffer.concat([bytes, NEWLINE]) : bytes };
  }

  /** `2026-11-23T17:59:12.265640668Z`: Date knows milliseconds only, so seconds and fraction are read apart. */
  #time(text: string): bigint {
    const second = text.slice(0, 19);
    if (second !== this.#second) {
      this.#second = second;
      this.#secondNs = BigInt(Date.parse(`${second}Z`)) * 1_000_000n;
    }
    return this.#secondNs + BigInt(text.slice(20, 29));
  }
}
