/** The log stream, read raw: message by message, in the order in which it has them. */
import { DeliverPolicy, JetStreamApiCodes, JetStreamApiError, jetstream } from '@nats-io/jetstream';
import type { Consumer, ConsumerMessages, JsMsg } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { decodeLogEntries, LOG_HEADERS } from '../core/log-entries.ts';
import { LOG_STREAM, logSubject, parseLogSubject } from '../core/naming.ts';
import type { RankLog } from './evidence.ts';
import type { RankName } from './program.ts';

/** What a node that was cut off had not sent, it sends when it is back. */
const ENDS_WITHIN_MS = 30_000;
const LOOK_MS = 500;

/** @param ranks whose logs have an end, which is waited for for a while */
export async function readLogs(
  natsUrl: string,
  ranks: readonly RankName[],
  endsWithinMs = ENDS_WITHIN_MS,
): Promise<RankLog[]> {
  const nats = await connect({ servers: natsUrl });
  const log = new StreamLog(ranks);
  const deadline = Date.now() + endsWithinMs;
  const late = setInterval(() => Date.now() > deadline && log.giveUp(), LOOK_MS);
  try {
    await log.read(await jetstream(nats).consumers.get(LOG_STREAM, { deliver_policy: DeliverPolicy.All }));
  } catch (error) {
    // No node has ever written a log.
    if (!(error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound)) throw error;
  } finally {
    clearInterval(late);
    await nats.close();
  }
  return log.ranks();
}

class StreamLog {
  private readonly logs = new Map<string, { readonly texts: string[]; readonly times: number[] }>();
  /** Subjects whose end has not come yet. */
  private readonly unended: Set<string>;
  /** What the stream had at first, and has not given yet. */
  private left = Infinity;
  private messages: ConsumerMessages | undefined;

  constructor(ranks: readonly RankName[]) {
    this.unended = new Set(ranks.map(logSubject));
  }

  async read(consumer: Consumer): Promise<void> {
    this.left = (await consumer.info()).num_pending;
    this.messages = await consumer.consume();
    this.stopWhenAllIsThere();
    for await (const message of this.messages) {
      this.note(message);
      this.left -= 1;
      this.stopWhenAllIsThere();
    }
  }

  /** Ends that have not come will not come; what is there is read all the same. */
  giveUp(): void {
    this.unended.clear();
    this.stopWhenAllIsThere();
  }

  ranks(): RankLog[] {
    return [...this.logs].map(([subject, { texts, times }]) => ({
      ...parseLogSubject(subject),
      text: texts.join(''),
      times,
    }));
  }

  private stopWhenAllIsThere(): void {
    if (this.left <= 0 && this.unended.size === 0) this.messages?.stop();
  }

  private note({ subject, data, headers }: JsMsg): void {
    if (headers?.has(LOG_HEADERS.end)) this.unended.delete(subject);
    const log = this.logs.get(subject) ?? { texts: [], times: [] };
    this.logs.set(subject, log);
    for (const { timeNs, bytes } of decodeLogEntries(data)) {
      const text = Buffer.from(bytes).toString('latin1');
      log.texts.push(text);
      const at = Number(timeNs / 1_000n) / 1_000;
      for (let ends = text.split('\n').length - 1; ends > 0; ends -= 1) log.times.push(at);
    }
  }
}
