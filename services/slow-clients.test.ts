// Which bodies are cut off: those that stand still and those that trickle, and nobody whom we keep waiting.
import type { IncomingMessage } from 'node:http';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { FastifyReply } from './http.ts';
import { SlowClients } from './slow-clients.ts';

let slow: SlowClients;
beforeEach(() => {
  vi.useFakeTimers();
  slow = new SlowClients(30);
});
afterEach(() => {
  slow.close();
  vi.useRealTimers();
});

/** A body that comes at so many bytes a second, for so long; returns the second at which it was cut off, if it was. */
function send({ rate, seconds, waiting = 0 }: { rate: number; seconds: number; waiting?: number }) {
  const answered: number[] = [];
  const socket = { bytesRead: 1_000 };
  const request = {
    socket,
    complete: false,
    readableLength: waiting,
    once: () => request,
    destroy: () => request,
  };
  const raw = { headersSent: false, writeHead: (status: number) => answered.push(status), end: () => raw };
  slow.watch(request as unknown as IncomingMessage, { raw } as unknown as FastifyReply);
  for (let second = 1; second <= seconds; second++) {
    socket.bytesRead += rate;
    vi.advanceTimersByTime(1000);
    if (answered.length > 0) return { second, status: answered[0] };
  }
  return undefined;
}

it('cuts off a body that trickles, once it has had a minute', () => {
  const cut = send({ rate: 500, seconds: 90 });
  expect(cut?.status).toBe(408);
  expect(cut?.second).toBeGreaterThanOrEqual(60);
  expect(cut?.second).toBeLessThanOrEqual(62);
});

it('cuts off a body that stands still', () => {
  expect(send({ rate: 0, seconds: 40 })).toMatchObject({ status: 408, second: 31 });
});

it('lets a slow body go on for as long as it needs', () => {
  expect(send({ rate: 520, seconds: 600 })).toBeUndefined();
});

it('does not take it for the client if it is we who do not read', () => {
  expect(send({ rate: 0, seconds: 600, waiting: 1 })).toBeUndefined();
});
