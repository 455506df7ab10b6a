/** A network that can be cut: a TCP proxy on loopback in front of one server. */
import { once } from 'node:events';
import net from 'node:net';
import type { AddressInfo } from 'node:net';

/** `silence`: packets vanish, and nobody is told. `refuse`: connections break, and new ones are refused. */
export type Cut = 'silence' | 'refuse';

export class Proxy {
  readonly port: number;
  private readonly server: net.Server;
  private readonly target: () => number;
  private readonly sockets = new Set<net.Socket>();
  /** Connections that nobody answers as long as there is silence. */
  private readonly waiting = new Set<net.Socket>();
  private cutBy: Cut | undefined;

  private constructor(server: net.Server, target: () => number) {
    this.server = server;
    this.target = target;
    this.port = (server.address() as AddressInfo).port;
    server.on('connection', (socket) => this.accept(socket));
  }

  /** @param target the port of the server, asked for with every connection */
  static async start(target: () => number): Promise<Proxy> {
    const server = net.createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Proxy(server, target);
  }

  cut(how: Cut): void {
    this.cutBy = how;
    for (const socket of this.sockets) {
      if (how === 'refuse') socket.destroy();
      else socket.pause();
    }
  }

  mend(): void {
    this.cutBy = undefined;
    for (const socket of this.sockets) socket.resume();
    for (const socket of this.waiting) this.connect(socket);
    this.waiting.clear();
  }

  async close(): Promise<void> {
    for (const socket of [...this.sockets, ...this.waiting]) socket.destroy();
    this.server.close();
    await once(this.server, 'close');
  }

  private accept(socket: net.Socket): void {
    socket.on('error', () => socket.destroy());
    if (this.cutBy === 'refuse') socket.destroy();
    else if (this.cutBy === 'silence') {
      this.waiting.add(socket);
      socket.on('close', () => this.waiting.delete(socket));
    } else this.connect(socket);
  }

  private connect(client: net.Socket): void {
    const server = net.connect({ port: this.target(), host: '127.0.0.1' });
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.sockets.add(from);
      // Not `pipe`, which would resume what a cut has paused.
      from.on('data', (chunk) => {
        if (!to.write(chunk)) from.pause();
      });
      to.on('drain', () => {
        if (this.cutBy !== 'silence') from.resume();
      });
      from.on('end', () => to.end());
      from.on('error', () => to.destroy());
      from.on('close', () => {
        this.sockets.delete(from);
        to.destroy();
      });
    }
    client.resume();
  }
}
