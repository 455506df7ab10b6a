import { describe, expect, it } from 'vitest';
import { readLogs } from '../../faults/log-stream.ts';
import { writeLog } from '../support/logs.ts';
import { useNats } from '../support/nats.ts';

const nats = useNats();

const ref = (run: string) => ({ run, resumption: 0, rank: 0 });
const AT_MS = 1_790_000_000_123;

async function append(run: string, text: string, endReason?: string): Promise<void> {
  const entry = {
    stream: 'stdout' as const,
    timeNs: BigInt(AT_MS) * 1_000_000n,
    bytes: Buffer.from(text, 'latin1'),
  };
  await writeLog(nats.connection, ref(run), text === '' ? [] : [entry], endReason);
}

describe('the log stream', () => {
  it('is empty where no node has ever written a log', async () => {
    expect(await readLogs(nats.url, [])).toEqual([]);
  });

  it('gives every log with the time of each whole line, and waits for those that have not ended', async () => {
    await append('a-000001', 'one\n\u00ff two\nthr');
    await append('a-000001', 'ee\nrest', 'exit 0');
    await append('b-000002', 'one\n');
    const reading = readLogs(nats.url, [ref('a-000001'), ref('b-000002')]);
    await append('b-000002', 'late\n');
    await append('b-000002', '', 'removed');
    expect(await reading).toEqual([
      { ...ref('a-000001'), text: 'one\n\u00ff two\nthree\nrest', times: [AT_MS, AT_MS, AT_MS] },
      { ...ref('b-000002'), text: 'one\nlate\n', times: [AT_MS, AT_MS] },
    ]);
  });

  it('does not wait for ever', async () => {
    await append('c-000003', 'one\n');
    const logs = await readLogs(nats.url, [ref('c-000003'), ref('d-000004')], 100);
    expect(logs.map(({ run }) => run)).toContain('c-000003');
  });
});
