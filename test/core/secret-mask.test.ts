import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { binaryValue, createSecretMask } from '../../core/secret-mask.ts';

const masked = (values: readonly string[], text: string): string => createSecretMask(values).maskText(text);
const base64 = (text: string, encoding: 'base64' | 'base64url' = 'base64'): string =>
  Buffer.from(text).toString(encoding);
/** Of this process: others that run at the same time do not count. */
function processorMs(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000;
}
const TOKEN = 'hf_Vx??>>Qz81/ü+ "quoted" ~';

describe('a mask of secrets', () => {
  it('replaces a value wherever it stands, and leaves the rest alone', () => {
    expect(masked(['wandb-key-1'], 'wandb-key-1 and key=wandb-key-1, not wandb-key-2')).toBe(
      '*** and key=***, not wandb-key-2',
    );
    expect(masked([], 'nothing is secret')).toBe('nothing is secret');
  });

  it('prefers the longer of two values that begin alike, and finds one that follows another at once', () => {
    expect(masked(['secret', 'secret-and-more'], 'secret-and-more/secret-and-mor')).toBe('***/***-and-mor');
    expect(masked(['first-one', 'second-one'], 'first-onesecond-one!')).toBe('***!');
    expect(createSecretMask(['secret', 'secret-and-more']).find(Buffer.from('a secret'))).toEqual([
      { start: 2, end: 8 },
    ]);
  });

  it('leaves nothing of two values that overlap', () => {
    expect(masked(['abcdefXYZ123', 'XYZ123456789'], '<abcdefXYZ123456789>')).toBe('<***>');
    expect(masked(['inside-of', 'is inside-of that'], 'it is inside-of that')).toBe('it ***');
  });

  it('leaves values alone that are too short to be anything but words', () => {
    expect(masked(['true', 'admin', ''], 'true: admin logged in')).toBe('true: admin logged in');
    expect(masked(['hunter'], 'hunter')).toBe('***');
  });

  it('finds a value in JSON, in a URL and in a form', () => {
    const forms = [
      JSON.stringify({ token: TOKEN }),
      `{"token":"${JSON.stringify(TOKEN)
        .slice(1, -1)
        .replaceAll('ü', String.raw`\u00fc`)}"}`,
      `https://x/?token=${encodeURIComponent(TOKEN)}`,
      new URLSearchParams({ token: TOKEN }).toString(),
      encodeURIComponent(TOKEN).replaceAll(/%../g, (code) => code.toLowerCase()),
      // As in Python, which escapes what JavaScript lets stand, and in shells, which escape everything.
      encodeURIComponent(TOKEN).replaceAll('~', '%7E'),
      Array.from(Buffer.from(TOKEN), (byte) => `%${byte.toString(16).padStart(2, '0')}`).join(''),
      new URLSearchParams({ authorization: base64(TOKEN) }).toString(),
    ];
    for (const form of forms) expect(masked([TOKEN], form)).toMatch(/^[^Q]*\*\*\*[^q]*$/);
  });

  it('is not misled by escapes that are none, or stand for something else', () => {
    const secret = 'back\\slash/p%41th \u{1F511}';
    expect(masked([secret], `100%\\N \\U1234 \\ud83d\\udczz %4 ${secret} \\`)).toBe(
      '100%\\N \\U1234 \\ud83d\\udczz %4 *** \\',
    );
    expect(masked([secret], JSON.stringify([secret, 1]))).toBe('["***",1]');
    const ascii = JSON.stringify(secret).replaceAll(/[^ -~]/g, (unit) => {
      return `\\u${unit.charCodeAt(0).toString(16).toUpperCase()}`;
    });
    expect(masked([secret], ascii)).toBe('"***"');
    expect(masked([secret], new URLSearchParams({ a: secret, b: 'c' }).toString())).toBe('a=***&b=c');
  });

  it('finds a value in base64, wherever it begins in what was encoded', () => {
    for (const encoding of ['base64', 'base64url'] as const) {
      for (const before of ['', 'u', 'us', 'user:', 'user::']) {
        for (const after of ['', '\n', '@host', '@hosts']) {
          const text = base64(`${before}${TOKEN}${after}`, encoding);
          const rest = masked([TOKEN], `Basic ${text}`);
          // At most the digits that it shares with its neighbours stay.
          expect(rest).toContain('***');
          const others = base64(before).length + base64(after).length;
          expect(rest.length).toBeLessThanOrEqual('Basic ***'.length + others + 3);
        }
      }
    }
  });

  it('finds each line of a value of several lines, as it is and in wrapped base64', () => {
    const body = Array.from({ length: 24 }, () => randomBytes(48).toString('base64'));
    const key = ['-----BEGIN KEY-----', ...body, '-----END KEY-----', ''].join('\n');
    const lines = masked([key], `cat key:\n${key}`).split('\n');
    expect(new Set(lines.slice(1, -1))).toEqual(new Set(['***']));
    expect(masked([key], JSON.stringify({ key }))).not.toMatch(/[A-Za-z\d+/]{8,}/);
    // The other way round: a key file of Google has its key as text of JSON, and programs print it unpacked.
    expect(masked([JSON.stringify({ key })], body[7] ?? '')).toBe('***');
    for (const width of [64, 76]) {
      const wrapped = base64(key).replaceAll(new RegExp(`.{${width}}`, 'g'), '$&\n');
      expect(masked([key], wrapped).replaceAll(/[*\n]/g, '').length).toBeLessThan(8);
    }
  });

  it('finds a text that looks like a binary value, whatever it is', () => {
    expect(masked([binaryValue('AAECAwQFBgc=')], 'is AAECAwQFBgc=')).toBe('is ***');
    expect(masked(['data:;base64,no base64!'], 'is data:;base64,no base64!')).toBe('is ***');
  });

  it('does not tell the length of a long value, nor take long to look for many', () => {
    const values = Array.from({ length: 60 }, () => randomBytes(3_000).toString('hex'));
    const mask = createSecretMask(values);
    expect(mask.longestBytes).toBeLessThan(1_024);
    expect(mask.maskText(`a ${values[59]} b`)).toBe('a *** b');
    const quiet = Buffer.from('step 12 loss=0.1234 lr=3.0e-4\n'.repeat(100_000));
    expect(processorMs(() => expect(mask.find(quiet)).toEqual([]))).toBeLessThan(500);
  });

  it('does not take long to look for thousands of lines that begin alike', () => {
    const lines = Array.from({ length: 16_000 }, (_, line) => `similar-${line}-${'x'.repeat(line % 8)}`);
    const mask = createSecretMask([lines.join('\n')]);
    const stars = lines.map(() => '***').join(' ');
    expect(processorMs(() => expect(mask.maskText(lines.join(' '))).toBe(stars))).toBeLessThan(500);
  });

  it('is made in little time of as much as a user may have', () => {
    const lines = Array.from({ length: 20_000 }, () => randomBytes(52).toString('hex')).join('\n');
    expect(processorMs(() => createSecretMask([lines]))).toBeLessThan(1_000);
    const bytes = binaryValue(randomBytes(2 * 1024 * 1024).toString('base64'));
    expect(processorMs(() => createSecretMask([bytes]))).toBeLessThan(1_000);
  });

  it('finds what a plain comparison at every place finds', () => {
    // Few letters, so that parts of values stand everywhere.
    const letters = (count: number): string =>
      Array.from(randomBytes(count), (byte) => 'ab+'[byte % 3]).join('');
    for (let round = 0; round < 200; round += 1) {
      const values = Array.from({ length: 3 }, () => letters(6 + (round % 5)));
      const text = letters(400);
      const marks = text.split('');
      for (const value of values) {
        for (let at = text.indexOf(value); at >= 0; at = text.indexOf(value, at + 1)) {
          marks.fill('\0', at, at + value.length);
        }
      }
      expect(masked(values, text)).toBe(marks.join('').replaceAll(/\0+/g, '***'));
    }
  });
});
