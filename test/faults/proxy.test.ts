import { once } from 'node:events';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Proxy } from '../../faults/proxy.ts';

let server: net.Server;
let proxy: Proxy;
beforeEach(async () => {
  // Says everything back.
  server = net
    .createServer((socket) => socket.on('error', () => undefined).pipe(socket))
    .listen(0, '127.0.0.1');
  await once(server, 'listening');
  proxy = await Proxy.start(() => (server.address() as AddressInfo).port);
});
afterEach(async () => {
  await proxy.close();
  server.close();
});

async function connect(): Promise<net.Socket> {
  const socket = net.connect({ port: proxy.port, host: '127.0.0.1' }).on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}
async function say(socket: net.Socket, words: string): Promise<string> {
  socket.write(words);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  return answer.toString();
}
/** Whether nothing comes for a moment: silence can't be awaited. */
async function isSilent(socket: net.Socket): Promise<boolean> {
  const quiet = once(socket, 'data', { signal: AbortSignal.timeout(150) });
  return await quiet.then(
    () => false,
    () => true,
  );
}

describe('a network that can be cut', () => {
  it('lets everything through', async () => {
    expect(await say(await connect(), 'hello')).toBe('hello');
  });

  it('swallows nothing in silence: what was said comes when it is mended, to old and new connections', async () => {
    const old = await connect();
    expect(await say(old, 'before')).toBe('before');
    proxy.cut('silence');
    const young = await connect();
    old.write('old');
    young.write('young');
    expect(await Promise.all([isSilent(old), isSilent(young)])).toEqual([true, true]);
    const answers = Promise.all([once(old, 'data'), once(young, 'data')]);
    proxy.mend();
    expect((await answers).map(([data]) => String(data))).toEqual(['old', 'young']);
  });

  it('breaks connections and refuses new ones until it is mended', async () => {
    const old = await connect();
    expect(await say(old, 'before')).toBe('before');
    proxy.cut('refuse');
    await once(old, 'close');
    const young = await connect();
    await once(young, 'close');
    proxy.mend();
    expect(await say(await connect(), 'again')).toBe('again');
  });
});
