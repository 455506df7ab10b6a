import { describe, expect, it } from 'vitest';
import { LogEntryMask } from '../../activities/log-entry-mask.ts';
import type { LogEntry } from '../../core/log-entries.ts';
import { createSecretMask } from '../../core/secret-mask.ts';

const PIECE = 16_384;
const SECRET = 'correct-horse-battery-staple';
const secrets = createSecretMask([SECRET, 'correct-horse']);

function entry(text: string, stream: LogEntry['stream'] = 'stdout'): LogEntry {
  return { stream, timeNs: 1n, bytes: Buffer.from(text) };
}

/** As Docker stores a line. */
function piecesOf(line: string, stream: LogEntry['stream'] = 'stdout'): LogEntry[] {
  const count = Math.ceil(line.length / PIECE);
  return Array.from({ length: count }, (_, at) => entry(line.slice(at * PIECE, (at + 1) * PIECE), stream));
}

function textOf(entries: readonly LogEntry[], stream?: LogEntry['stream']): string {
  const chosen = entries.filter((one) => stream === undefined || one.stream === stream);
  return Buffer.concat(chosen.map(({ bytes }) => bytes)).toString();
}

describe('secrets in the entries of a log', () => {
  it('are found at every place where a long line may be cut', () => {
    for (let before = PIECE - SECRET.length - 2; before <= PIECE + 2; before += 1) {
      const mask = new LogEntryMask(secrets);
      const line = `${'x'.repeat(before)}${SECRET}${'y'.repeat(PIECE)}\n`;
      const pieces = piecesOf(line);
      const out = pieces.map((piece) => mask.push(piece));
      expect(out).toHaveLength(pieces.length);
      expect(textOf(out)).toBe(line.replace(SECRET, '***'));
      expect(mask.flush(1n)).toEqual([]);
    }
  });

  it('are found on each stream, though the pieces of both come in turns', () => {
    const mask = new LogEntryMask(secrets);
    const line = `${'x'.repeat(PIECE - 5)}${SECRET}\n`;
    const [out1, out2] = piecesOf(line);
    const [err1, err2] = piecesOf(line, 'stderr');
    const turns = [out1, err1, entry('other\n', 'stderr'), err2, out2].filter((one) => one !== undefined);
    const out = turns.map((one) => mask.push(one));
    expect(textOf(out, 'stdout')).toBe(line.replace(SECRET, '***'));
    expect(out.map(({ stream }) => stream)).toEqual(turns.map(({ stream }) => stream));
  });

  it('are held back to the end of a log that ends within a line, and no byte is lost', () => {
    const mask = new LogEntryMask(secrets);
    const text = `${'x'.repeat(PIECE - 13)}correct-horse`;
    const out = piecesOf(text).map((piece) => mask.push(piece));
    const rest = mask.flush(7n);
    expect(rest.map(({ timeNs }) => timeNs)).toEqual([7n]);
    expect(textOf([...out, ...rest])).toBe(text.replace('correct-horse', '***'));
    expect(mask.flush(7n)).toEqual([]);
  });

  it('are found alike however a line is cut, also where they overlap and in other forms', () => {
    const values = ['abcdefXYZ123', 'XYZ123456789', 'z '.repeat(9)];
    const mask = createSecretMask(values);
    const secret = 'abcdefXYZ123456789 and XYZ123abcdefXYZ123456789XYZ123456789 end';
    const forms = [secret, JSON.stringify({ z: values[2] }), encodeURIComponent(secret), `${values[2]} %`];
    for (const form of forms) {
      for (let before = PIECE - form.length - 1; before <= PIECE + 1; before += 1) {
        const pieces = new LogEntryMask(mask);
        const line = `${'x'.repeat(before)}${form}${'y'.repeat(PIECE)}\n`;
        const out = piecesOf(line).map((piece) => pieces.push(piece));
        expect(textOf(out) === mask.maskText(line), `${form} from ${before}`).toBe(true);
      }
    }
  });

  it('cost nothing where there are none: entries go through as they are', () => {
    const mask = new LogEntryMask(secrets);
    const quiet = entry('a line\n');
    expect(mask.push(quiet)).toBe(quiet);
    const open = new LogEntryMask(createSecretMask([]));
    const [piece] = piecesOf('x'.repeat(PIECE));
    expect(textOf([open.push(piece ?? quiet)])).toHaveLength(PIECE);
    expect(open.flush(1n)).toEqual([]);
  });
});
