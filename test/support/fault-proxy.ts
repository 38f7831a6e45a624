// A TCP proxy with scripted faults, to stand between a client and a tracker or a storage node: it refuses, resets,
// truncates, delays, swallows and damages what passes through it.
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Fault {
  /**
   * `refuse`: nobody listens. `reset`: the connection is reset. `end`: it is closed as if all had been said.
   * `stall`: it stays open, and nothing more comes. `damage`: one byte is changed. `delay`: every piece comes late.
   */
  kind: 'refuse' | 'reset' | 'end' | 'stall' | 'damage' | 'delay';
  /** Which way the bytes go that it is about: to the client (`answer`) or to the server (`request`). */
  way?: 'answer' | 'request';
  /** How many bytes of that way pass before, on each connection. */
  after?: number;
  /** How late each piece is, in milliseconds. */
  delay?: number;
  /** How many connections it happens to; without it, to all. Those that are open already count when it is reached. */
  times?: number;
}

/** One proxy; `url` stays the same whatever happens. */
export class FaultProxy {
  readonly target: { host: string; port: number };
  /** Connections that were accepted. */
  connections = 0;
  #server: Server | undefined;
  #port = 0;
  #fault: Fault | undefined;
  #left = 0;
  readonly #open = new Set<Socket>();

  constructor(target: string) {
    const { hostname, port } = new URL(target);
    this.target = { host: hostname, port: Number(port) };
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async start(): Promise<this> {
    await this.#listen();
    return this;
  }

  /** From now on this happens; undefined: nothing. Connections that are open are cut: they began in another time. */
  async set(fault: Fault | undefined): Promise<void> {
    this.#fault = fault;
    this.#left = fault?.times ?? Number.POSITIVE_INFINITY;
    for (const socket of this.#open) socket.resetAndDestroy();
    if (fault?.kind === 'refuse') await this.#unlisten();
    else await this.#listen();
  }

  async stop(): Promise<void> {
    for (const socket of this.#open) socket.destroy();
    await this.#unlisten();
  }

  async #listen(): Promise<void> {
    if (this.#server !== undefined) return;
    this.#server = createServer((client) => this.#accept(client));
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as { port: number }).port;
  }

  async #unlisten(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    server.close();
    await once(server, 'close');
  }

  #accept(client: Socket): void {
    this.connections += 1;
    const server = connect(this.target);
    for (const socket of [client, server]) {
      this.#open.add(socket);
      socket.setNoDelay(true);
      // What follows an error is 'close'.
      socket.on('error', () => {});
      socket.on('close', () => this.#open.delete(socket));
    }
    this.#pass(client, server, 'request');
    this.#pass(server, client, 'answer');
  }

  /** Carries bytes one way, until the fault strikes. */
  #pass(from: Socket, to: Socket, way: 'answer' | 'request'): void {
    let passed = 0;
    let struck = false;
    const piece = async (bytes: Buffer) => {
      const fault = this.#fault;
      const due = fault !== undefined && (fault.way ?? 'answer') === way && this.#left > 0;
      const room = (fault?.after ?? 0) - passed;
      if (due && fault.kind === 'delay') await sleep(fault.delay ?? 100);
      else if (due && room >= 0 && room < bytes.length) {
        this.#left -= 1;
        if (fault.kind !== 'damage') {
          struck = true;
          // What comes before the fault gets out first.
          if (room > 0) await new Promise((resolve) => to.write(bytes.subarray(0, room), resolve));
          if (fault.kind === 'reset') to.resetAndDestroy();
          if (fault.kind === 'end') to.end();
          return;
        }
        bytes[room] = (bytes[room] ?? 0) ^ 1;
      }
      passed += bytes.length;
      if (!to.write(bytes)) await once(to, 'drain').catch(() => {});
    };
    let passing = Promise.resolve();
    from.on('data', (bytes: Buffer) => {
      from.pause();
      passing = passing.then(() => (struck ? undefined : piece(bytes))).finally(() => from.resume());
    });
    // Who was struck learns of nothing that happens behind the fault.
    from.on('end', () => passing.then(() => (struck ? undefined : to.end())));
    from.on('close', () => passing.then(() => (struck ? undefined : to.destroySoon())));
  }
}
