import { hash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { setImmediate } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { Problem } from '../../services/problems.ts';
import type { BatchEntry, BatchResult } from '../../services/protocol.ts';
import { Keyring, type PutManyTicket, type PutTicket } from '../../services/tickets.ts';
import type { DeviceState, HostState } from '../cluster/state.ts';
import { type FanOutTimes, sendStream, sendWhole } from './fan-out.ts';
import { NodeClient } from './node-client.ts';
import { type BlobOrder, type Parts, Placing } from './placing.ts';

const keyring = new Keyring('a cluster key for tests, of 32 bytes or more');
const binding = { domain: 'd', key: 'k', class: 'default' };
const quick: FanOutTimes = { answerMs: 1_000, giveUpMs: 5_000, lingerMs: 200, stallMs: 300, syncMs: 2_000 };
const MiB = 1024 * 1024;

/** How a node behaves: as it should, or in one of the ways that nodes fail. */
type Behaviour = 'good' | 'full' | 'dies' | 'stalls' | 'silent' | 'lies';

/** A storage node's put and copy over real HTTP, with its blobs in memory. */
class Sink {
  readonly blobs = new Map<number, Buffer>();
  behaviour: Behaviour = 'good';
  requests = 0;
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request, response) => {
      this.requests++;
      void this.#serve(request, response).catch(() => response.destroy());
    });
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '', 'http://sink');
    const word = url.pathname.split('/').at(-1);
    const op = word === 'copy' || word === 'put-many' ? word : request.method === 'PUT' ? 'put' : 'get';
    const permission: object = keyring.check(op, url.searchParams.get('ticket') ?? '');
    const ticket = permission as Omit<PutTicket, 'op'> & Omit<PutManyTicket, 'op'>;
    if (op === 'get') return void response.end(this.blobs.get(ticket.fid));
    if (this.behaviour === 'full' && op !== 'put-many')
      return refuse(response, new Problem('insufficient-storage'));
    if (this.behaviour === 'stalls') return;
    if (this.behaviour === 'dies') return void request.once('data', () => request.destroy());
    let bytes: Buffer = await buffer(request);
    if (this.behaviour === 'silent') return;
    if (op === 'put-many') return void response.end(JSON.stringify(this.#keep(bytes, ticket.manifest)));
    if (op === 'copy') {
      const { sources } = JSON.parse(bytes.toString()) as { sources: [string] };
      bytes = Buffer.from(await (await fetch(sources[0])).arrayBuffer());
    }
    this.blobs.set(ticket.fid, bytes);
    const sha256 = this.#digest(bytes);
    const part = { host: 'h', session: 's', dev: ticket.dev, at: Date.now(), signature: 'unsigned' };
    response.end(JSON.stringify({ ...binding, fid: ticket.fid, size: bytes.length, sha256, parts: [part] }));
  }

  /** The blobs of a batch: a manifest of so many bytes comes first. */
  #keep(body: Buffer, manifest: number): BatchResult[] {
    let at = manifest;
    return (JSON.parse(body.toString('utf8', 0, manifest)) as BatchEntry[]).map(({ fid, size }) => {
      if (this.behaviour === 'full') return new Problem('insufficient-storage').toJSON();
      const bytes = body.subarray(at, at + size);
      at += size;
      this.blobs.set(fid, bytes);
      return { size, sha256: this.#digest(bytes) };
    });
  }

  #digest(bytes: Buffer): string {
    return hash('sha256', this.behaviour === 'lies' ? 'other bytes' : bytes);
  }
}

function refuse(response: ServerResponse, problem: Problem): void {
  response.writeHead(problem.status, { 'content-type': 'application/problem+json' });
  response.end(JSON.stringify(problem));
}

const closers: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

/** A cluster of one device a host. The first ones are the first to be chosen. */
async function cluster(...behaviours: Behaviour[]) {
  const sinks = behaviours.map(() => new Sink());
  const suspects = new Set<number>();
  const devices: DeviceState[] = [];
  for (const [i, sink] of sinks.entries()) {
    sink.behaviour = behaviours[i] as Behaviour;
    const id = i + 1;
    const host = { id, name: `h${id}`, url: await sink.listen(), up: true } as HostState;
    // Weights this far apart make the order of choice certain for a test.
    const weight = 1_000 ** (behaviours.length - i);
    devices.push({ id, host, writable: true, weight, free: 1_000 * MiB } as DeviceState);
    closers.push(() => sink.close());
  }
  const state = {
    now: () => Date.now(),
    devices: () => devices,
    hosts: () => devices.map((device) => device.host),
    suspect: (id: number) => void suspects.add(id),
    isSuspect: (id: number) => suspects.has(id),
  };
  const nodes = new NodeClient(state, keyring);
  closers.push(() => nodes.close());
  const parts: Parts = { state, nodes, log: { warn: () => {} } };
  const place = (order: Partial<BlobOrder> = {}) =>
    new Placing(parts, {
      fid: 7,
      binding,
      class: { copies: 2, minCopies: 2 },
      max: 100 * MiB,
      ...order,
    }).begin();
  return { sinks, suspects, parts, place };
}

const held = (sinks: Sink[]) => sinks.map((sink) => sink.blobs.get(7)?.length);
const bytes = Buffer.alloc(3 * MiB, 'some bytes of a large file ');
const pieces = () =>
  Readable.from(Array.from({ length: 48 }, (_, i) => bytes.subarray(i * 65536, (i + 1) * 65536)));

describe('a small body', () => {
  const small = Buffer.from('hello');

  it('goes to as many hosts as the class wants copies', async () => {
    const { sinks, place } = await cluster('good', 'good', 'good');
    const placing = place({ length: small.length });
    await sendWhole(placing, small, quick);
    expect(placing.result()).toMatchObject({ size: 5, devices: expect.arrayContaining([1, 2]) });
    expect(held(sinks)).toEqual([5, 5, undefined]);
  });

  it.each(['full', 'dies', 'silent', 'stalls'] as const)(
    'goes to another device if one %s',
    async (behaviour) => {
      const { sinks, place } = await cluster(behaviour, 'good', 'good');
      const placing = place({ length: small.length });
      await sendWhole(placing, small, quick);
      expect(placing.result().devices.sort()).toEqual([2, 3]);
      expect(held(sinks)).toEqual([undefined, 5, 5]);
    },
  );

  it('is acknowledged by minCopies devices without waiting for a straggler', async () => {
    const { place } = await cluster('good', 'silent');
    const placing = place({ class: { copies: 2, minCopies: 1 }, length: small.length });
    const started = performance.now();
    await sendWhole(placing, small, quick);
    expect(performance.now() - started).toBeLessThan(quick.answerMs);
    expect(placing.result()).toMatchObject({ devices: [1], mayHold: expect.arrayContaining([1, 2]) });
  });

  it('is refused if too few devices take it, and says who may hold it all the same', async () => {
    const { place } = await cluster('good', 'silent');
    const placing = place({ length: small.length });
    await sendWhole(placing, small, quick);
    expect(() => placing.result()).toThrow(expect.objectContaining({ problem: 'too-few-devices' }));
    expect(placing.mayHold().sort()).toEqual([1, 2]);
  });

  it('is refused with 507 if it is for want of space', async () => {
    const { place } = await cluster('good', 'full');
    const placing = place({ length: small.length });
    await sendWhole(placing, small, quick);
    expect(() => placing.result()).toThrow(expect.objectContaining({ problem: 'insufficient-storage' }));
    expect(placing.mayHold()).toEqual([1]);
  });

  it('is refused if the devices do not agree on what they hold', async () => {
    const { place } = await cluster('good', 'lies');
    const placing = place({ length: small.length });
    await sendWhole(placing, small, quick);
    expect(() => placing.result()).toThrow(/changed on their way/);
  });
});

describe('a large body', () => {
  it('streams to all devices', async () => {
    const { sinks, place } = await cluster('good', 'good');
    const placing = place();
    await sendStream(placing, [], pieces(), quick);
    expect(placing.result()).toMatchObject({ size: bytes.length });
    expect(sinks.map((sink) => sink.blobs.get(7)?.equals(bytes))).toEqual([true, true]);
  });

  it.each(['full', 'dies', 'stalls', 'silent'] as const)(
    'is copied to another device if one %s',
    async (behaviour) => {
      const { sinks, place } = await cluster(behaviour, 'good', 'good');
      const placing = place({ length: bytes.length });
      await sendStream(placing, [], pieces(), quick);
      await placing.complete();
      expect(placing.result().devices.sort()).toEqual([2, 3]);
      expect(sinks[2]?.blobs.get(7)?.equals(bytes)).toBe(true);
    },
  );

  it('does not wait for a device that takes no more bytes', async () => {
    const { suspects, place } = await cluster('stalls', 'good', 'good');
    const placing = place();
    // More than the buffers of all sockets on the way can hold.
    const large = Readable.from(Array.from({ length: 512 }, () => bytes.subarray(0, 65536)));
    const started = performance.now();
    await sendStream(placing, [], large, { ...quick, syncMs: 60_000 });
    expect(performance.now() - started).toBeLessThan(10_000);
    await placing.complete();
    expect(placing.result()).toMatchObject({ size: 32 * MiB, mayHold: [2, 3] });
    expect([...suspects]).toEqual([1]);
  });

  it('is given up as soon as no device is left, with the reason', async () => {
    const { place } = await cluster('full', 'full');
    const placing = place();
    let sent = 0;
    const endless = Readable.from(
      (async function* () {
        for (; sent < 1_000; sent++) {
          await setImmediate();
          yield bytes.subarray(0, 65536);
        }
      })(),
    );
    await expect(sendStream(placing, [], endless, quick)).rejects.toMatchObject({
      problem: 'insufficient-storage',
    });
    expect(sent).toBeLessThan(1_000);
    expect(endless.destroyed).toBe(false);
  });

  it('leaves nothing behind if its source breaks off', async () => {
    const { sinks, place } = await cluster('good', 'good');
    const placing = place();
    const broken = Readable.from(
      (async function* () {
        yield bytes;
        throw new Error('gone');
      })(),
    );
    await expect(sendStream(placing, [], broken, quick)).rejects.toThrow('gone');
    expect(placing.mayHold()).toEqual([]);
    expect(held(sinks)).toEqual([undefined, undefined]);
  });

  it('is refused beyond its bound', async () => {
    const { sinks, place } = await cluster('good', 'good');
    const placing = place({ max: MiB });
    await expect(sendStream(placing, [], pieces(), quick)).rejects.toMatchObject({
      problem: 'body-too-large',
    });
    expect(held(sinks)).toEqual([undefined, undefined]);
  });
});

it('refuses to begin with fewer hosts than minCopies, before anything is sent', async () => {
  const { sinks, place } = await cluster('good');
  expect(() => place()).toThrow(expect.objectContaining({ problem: 'too-few-devices' }));
  expect(sinks[0]?.requests).toBe(0);
});
