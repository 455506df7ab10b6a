/**
 * The payload of one log message: entries as the container wrote them, byte for byte.
 * Entry: 1 byte stream (1 stdout, 2 stderr), 8 bytes time (ns since the epoch, big endian), 4 bytes length, the bytes.
 * An entry is what Docker stored as one: usually a line with its newline, a piece of one when it is longer than 16 KiB.
 */
export interface LogEntry {
  readonly stream: 'stdout' | 'stderr';
  readonly timeNs: bigint;
  readonly bytes: Uint8Array;
}

/** Header of every log message: how many entries of this rank stand before it, and how many it holds. */
export const LOG_HEADERS = {
  firstEntry: 'Mcli-First-Entry',
  entries: 'Mcli-Entries',
  /** Time of the log's first entry, in ns: tells whether Docker still has the log from its beginning. */
  start: 'Mcli-Start',
  /** Present on the message after which nothing but the end follows, because the log reached its limit. */
  full: 'Mcli-Full',
  /** Present on the last message of a rank; its value is the reason the log ends. */
  end: 'Mcli-End',
} as const;

export const NEWLINE = 10;

const ENTRY_HEADER_BYTES = 13;

export function encodeLogEntries(entries: readonly LogEntry[]): Uint8Array {
  const total = entries.reduce((sum, entry) => sum + ENTRY_HEADER_BYTES + entry.bytes.length, 0);
  const buffer = new Uint8Array(total);
  const view = new DataView(buffer.buffer);
  let at = 0;
  for (const entry of entries) {
    view.setUint8(at, entry.stream === 'stdout' ? 1 : 2);
    view.setBigUint64(at + 1, entry.timeNs);
    view.setUint32(at + 9, entry.bytes.length);
    buffer.set(entry.bytes, at + ENTRY_HEADER_BYTES);
    at += ENTRY_HEADER_BYTES + entry.bytes.length;
  }
  return buffer;
}

/** @throws RangeError when the payload is cut off. */
export function decodeLogEntries(payload: Uint8Array): LogEntry[] {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const entries: LogEntry[] = [];
  let at = 0;
  while (at < payload.length) {
    const start = at + ENTRY_HEADER_BYTES;
    const end = start + view.getUint32(at + 9);
    if (end > payload.length) throw new RangeError('log message is cut off');
    entries.push({
      stream: view.getUint8(at) === 1 ? 'stdout' : 'stderr',
      timeNs: view.getBigUint64(at + 1),
      bytes: payload.subarray(start, end),
    });
    at = end;
  }
  return entries;
}
