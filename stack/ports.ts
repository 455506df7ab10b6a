/** Ports of the local stack: chosen once per home, loopback only. */
import net from 'node:net';
import { LOOPBACK } from './addresses.ts';
import type { StackPorts } from './config.ts';

/** Below the range that the system hands out for outgoing connections, so that these rarely take one of ours. */
const RANGE = { first: 20_000, last: 31_999 } as const;
const ATTEMPTS = 200;

const NAMES = [
  'temporal',
  'temporalHttp',
  'temporalUi',
  'nats',
  'natsMonitor',
] as const satisfies readonly (keyof StackPorts)[];

/** Free ports for all that the stack serves. */
export async function choosePorts(): Promise<StackPorts> {
  const chosen = new Set<number>();
  for (let attempt = 0; attempt < ATTEMPTS && chosen.size < NAMES.length; attempt++) {
    const port = RANGE.first + Math.floor(Math.random() * (RANGE.last - RANGE.first));
    if (await isFree(port)) chosen.add(port);
  }
  if (chosen.size < NAMES.length)
    throw new Error(`found no free ports between ${RANGE.first} and ${RANGE.last}`);
  const ports = [...chosen];
  return Object.fromEntries(NAMES.map((name, index) => [name, ports[index]])) as unknown as StackPorts;
}

export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: LOOPBACK, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
