// The fault proxy does what it says: tests of others stand on it.
import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type Server } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Fault, FaultProxy } from './fault-proxy.ts';

const body = 'x'.repeat(100_000);
let server: Server;
let proxy: FaultProxy;
let served = 0;
beforeAll(async () => {
  server = createServer((request, response) => {
    served += 1;
    request.resume();
    request.on('end', () => response.end(body));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  proxy = await new FaultProxy(`http://127.0.0.1:${(server.address() as { port: number }).port}`).start();
});
afterAll(async () => {
  await proxy.stop();
  server.close();
});

/** What a client with a connection of its own sees: the body, or 'failed', or 'nothing came'. */
async function seen(fault: Fault | undefined): Promise<string> {
  if (fault !== again) await proxy.set(fault);
  const signal = AbortSignal.timeout(1_000);
  try {
    const [answer] = (await once(get(proxy.url, { agent: false, signal }), 'response')) as [IncomingMessage];
    return await text(answer);
  } catch {
    return signal.aborted ? 'nothing came' : 'failed';
  }
}
/** The fault that was set before. */
const again: Fault = { kind: 'delay' };

it('passes everything on without a fault', async () => {
  expect((await seen(undefined)) === body).toBe(true);
});

it('refuses, and listens again at the same place', async () => {
  const before = served;
  expect(await seen({ kind: 'refuse' })).toBe('failed');
  expect(served).toBe(before);
  expect((await seen(undefined)) === body).toBe(true);
});

it('cuts answers, by a reset or an early end', async () => {
  expect(await seen({ kind: 'reset', after: 50_000 })).toBe('failed');
  expect(await seen({ kind: 'end', after: 50_000 })).toBe('failed');
});

it('swallows answers to requests that were served, and requests themselves', async () => {
  const before = served;
  expect(await seen({ kind: 'stall' })).toBe('nothing came');
  expect(served).toBe(before + 1);
  expect(await seen({ kind: 'stall', way: 'request' })).toBe('nothing came');
  expect(served).toBe(before + 1);
});

it('changes one byte', async () => {
  const damaged = await seen({ kind: 'damage', after: 50_000 });
  expect(damaged).toHaveLength(body.length);
  expect([...damaged].filter((character) => character !== 'x')).toHaveLength(1);
});

it('delays, and ends a fault after so many connections', async () => {
  const started = Date.now();
  expect((await seen({ kind: 'delay', delay: 200 })) === body).toBe(true);
  expect(Date.now() - started).toBeGreaterThanOrEqual(190);
  expect(await seen({ kind: 'reset', times: 1 })).toBe('failed');
  expect((await seen(again)) === body).toBe(true);
});
