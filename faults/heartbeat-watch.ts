/** When the server has heard of each node, asked again and again: whatever mcli makes of it. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import type { Silence } from './evidence.ts';
import { lastHeartbeat } from './histories.ts';
import { silencesOf } from './outages.ts';

/** More often than nodes send: the server keeps the last one only. */
const LOOK_MS = 700;
const ANSWER_MS = 2_000;

export class HeartbeatWatch {
  private readonly beats = new Map<string, number[]>();
  private readonly closing = new AbortController();

  constructor(client: () => Promise<Client>, cluster: string, nodes: readonly string[]) {
    for (const node of nodes) void this.watch(node, async () => await beatOf(await client(), cluster, node));
  }

  close(): void {
    this.closing.abort();
  }

  silences(): Silence[] {
    return [...this.beats].flatMap(([node, beats]) => silencesOf(node, beats, Date.now()));
  }

  private async watch(node: string, look: () => Promise<number>): Promise<void> {
    const beats: number[] = [];
    this.beats.set(node, beats);
    while (!this.closing.signal.aborted) {
      // The server is away, or the node is.
      const beat = await look().catch(() => 0);
      if (beat > (beats.at(-1) ?? 0)) beats.push(beat);
      await sleep(LOOK_MS);
    }
  }
}

const beatOf = (client: Client, cluster: string, node: string): Promise<number> =>
  client.withDeadline(Date.now() + ANSWER_MS, () => lastHeartbeat(client, cluster, node));
