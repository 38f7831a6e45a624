// Ends requests whose body stands still or trickles, without a timer or a stream layer for each request: one
// interval looks at all bodies that are under way.
import type { IncomingMessage } from 'node:http';
import type { FastifyReply } from 'fastify';
import { Problem } from './problems.ts';

interface Watched {
  request: IncomingMessage;
  reply: FastifyReply;
  started: number;
  startBytes: number;
  movedAt: number;
  bytes: number;
}

// A body that is still under way after this long must have come at this rate at least.
const PATIENCE_MS = 60_000;
const MIN_BYTES_A_SECOND = 512;

/** Watches request bodies; those idle for `idleSeconds`, or far too slow, are answered 408 and cut off. */
export class SlowClients {
  readonly #watched = new Set<Watched>();
  readonly #idleMs: number;
  readonly #timer: NodeJS.Timeout;

  constructor(idleSeconds: number) {
    this.#idleMs = idleSeconds * 1000;
    this.#timer = setInterval(() => this.#look(), Math.min(1000, this.#idleMs / 4));
    this.#timer.unref();
  }

  watch(request: IncomingMessage, reply: FastifyReply): void {
    const now = Date.now();
    const bytes = request.socket.bytesRead;
    const entry = { request, reply, started: now, startBytes: bytes, movedAt: now, bytes };
    this.#watched.add(entry);
    request.once('close', () => this.#watched.delete(entry));
  }

  close(): void {
    clearInterval(this.#timer);
    this.#watched.clear();
  }

  #look(): void {
    const now = Date.now();
    for (const entry of this.#watched) {
      if (entry.request.complete) {
        this.#watched.delete(entry);
        continue;
      }
      const { bytesRead } = entry.request.socket;
      // Bytes that wait in our own buffer mean that we are the slow side, not the client.
      if (bytesRead !== entry.bytes || entry.request.readableLength > 0) {
        entry.bytes = bytesRead;
        entry.movedAt = now;
      }
      const age = now - entry.started;
      const rate = ((entry.bytes - entry.startBytes) / Math.max(age, 1)) * 1000;
      const trickles = age > PATIENCE_MS && rate < MIN_BYTES_A_SECOND && entry.request.readableLength === 0;
      if (now - entry.movedAt > this.#idleMs || trickles) this.#cut(entry);
    }
  }

  #cut(entry: Watched): void {
    this.#watched.delete(entry);
    const { raw } = entry.reply;
    const problem = new Problem(
      'request-timeout',
      'The body stood still for too long, or came too slowly. Send it again.',
    );
    if (!raw.headersSent) {
      raw.writeHead(408, { 'content-type': 'application/problem+json', connection: 'close' });
      raw.end(JSON.stringify(problem));
    }
    entry.request.destroy(problem);
  }
}
