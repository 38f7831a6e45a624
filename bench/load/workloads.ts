// What one worker of the load generator does, again and again: one function for each kind of work.
import { randomBytes } from 'node:crypto';
import { Keyring } from '../../services/tickets.ts';
import { bytesOf } from './bytes.ts';
import { type Answer, Connection } from './connection.ts';
import { diskWorker } from './disk.ts';
import type { Job, Work } from './jobs.ts';
import { makeReceipt } from './receipts.ts';

/** Does operation number `i`; throws if it did not succeed. */
export type Worker = (i: number) => Promise<void>;
type Of<Kind extends Work['kind']> = Extract<Work, { kind: Kind }> & { most: number };

/** Makes a worker with connections of its own. */
export function prepare(job: Job): Worker | Promise<Worker> {
  switch (job.kind) {
    case 'upload':
      return job.direct ? uploadDirect(job) : upload(job);
    case 'download':
      return download(job);
    case 'look-up':
      return lookUp(job);
    case 'commit':
      return commit(job);
    case 'put-blob':
      return putBlob(job);
    case 'disk':
      return diskWorker(job.directory, randomBytes(job.size));
  }
}

function upload(job: Of<'upload'>): Worker {
  const tracker = new Connection(job.tracker);
  const body = randomBytes(job.size);
  return async (i) => {
    const head = headOf(job, 'PUT', `files/${keyOf(job, i)}`, 'application/octet-stream', body.length);
    expect(await tracker.request(head, { body }), 201);
  };
}

function uploadDirect(job: Of<'upload'>): Worker {
  const { size } = job;
  const tracker = new Connection(job.tracker);
  const nodes = new Connections();
  const bytes = randomBytes(size);
  const post = async (path: string, content: object) => {
    const body = Buffer.from(JSON.stringify(content));
    const head = headOf(job, 'POST', path, 'application/json', body.length);
    return expect(await tracker.request(head, { body, keep: true }), 201).body as Buffer;
  };
  return async (i) => {
    const opened = JSON.parse((await post('uploads', { key: keyOf(job, i), size })).toString());
    const { fid, url } = opened as { fid: number; url: string };
    const put = `PUT ${pathOf(url)} HTTP/1.1\r\nHost: node\r\nContent-Length: ${size}\r\n\r\n`;
    const stored = expect(await nodes.to(url).request(put, { body: bytes, keep: true }), 201);
    await post(`uploads/${fid}/commit`, { receipt: JSON.parse((stored.body as Buffer).toString()) });
  };
}

function download(job: Of<'download'>): Worker {
  const tracker = new Connection(job.tracker);
  const nodes = new Connections();
  return async () => {
    const path = `files/${keyOf(job, random(job.count))}`;
    let answer = await tracker.request(headOf(job, 'GET', job.direct ? `${path}?via=redirect` : path));
    if (job.direct) {
      expect(answer, 307);
      const location = /\r\nlocation: *([^\r]+)\r\n/i.exec(answer.head)?.[1] as string;
      answer = await nodes.to(location).request(`GET ${pathOf(location)} HTTP/1.1\r\nHost: node\r\n\r\n`);
    }
    if (expect(answer, 200).size !== job.size) throw new Error(`a body of ${answer.size} bytes`);
  };
}

function lookUp(job: Of<'look-up'>): Worker {
  const tracker = new Connection(job.tracker);
  if (job.method === 'HEAD') {
    return async () => {
      const head = headOf(job, 'HEAD', `files/${keyOf(job, random(job.count))}`);
      expect(await tracker.request(head, { head: true }), 200);
    };
  }
  return async () => {
    const body = Buffer.from(`{"keys":["${keyOf(job, random(job.count))}"]}`);
    const head = headOf(job, 'POST', 'stat', 'application/json', body.length);
    // The answer for a key that names nothing is shorter than any entry.
    if (expect(await tracker.request(head, { body }), 200).size < 100) throw new Error('a key was not found');
  };
}

/** All workers share the receipts, which are made before the first operation. */
let receipts: Buffer[] | undefined;

function commit(job: Of<'commit'>): Worker {
  receipts ??= Array.from({ length: job.most }, (_, i) =>
    Buffer.from(JSON.stringify({ receipt: makeReceipt(job, keyOf(job, i), job.fids + i) })),
  );
  const bodies = receipts;
  const tracker = new Connection(job.tracker);
  return async (i) => {
    const body = bodies[i] as Buffer;
    const head = headOf(job, 'POST', `uploads/${job.fids + i}/commit`, 'application/json', body.length);
    expect(await tracker.request(head, { body }), 201);
  };
}

let tickets: string[] | undefined;

function putBlob({ node, device, size, fids, step, clusterKey, most }: Of<'put-blob'>): Worker {
  const keyring = new Keyring(clusterKey);
  const binding = { domain: 'demo', key: 'bench', class: 'default' };
  const ticket = { op: 'put' as const, dev: device, max: size, ...binding, exp: Date.now() + 600_000 };
  tickets ??= Array.from({ length: most }, (_, i) => keyring.sign({ ...ticket, fid: fids + i * step }));
  const signed = tickets;
  const connection = new Connection(node);
  const body = bytesOf(size);
  return async (i) => {
    const path = `/devices/${device}/blobs/${fids + i * step}?ticket=${signed[i]}`;
    const head = `PUT ${path} HTTP/1.1\r\nHost: node\r\nContent-Length: ${size}\r\n\r\n`;
    expect(await connection.request(head, { body }), 201);
  };
}

/** Connections to whichever origins come up. */
class Connections {
  readonly #byOrigin = new Map<string, Connection>();

  to(url: string): Connection {
    const origin = url.slice(0, url.indexOf('/', 'http://'.length));
    let connection = this.#byOrigin.get(origin);
    if (connection === undefined) {
      connection = new Connection(origin);
      this.#byOrigin.set(origin, connection);
    }
    return connection;
  }
}

function pathOf(url: string): string {
  return url.slice(url.indexOf('/', 'http://'.length));
}

function keyOf({ prefix, directories }: { prefix: string; directories: number }, i: number): string {
  return `${prefix}/${i % directories}/${i}`;
}

function random(count: number): number {
  return Math.floor(Math.random() * count);
}

function headOf(
  job: { domain: string; token: string },
  method: string,
  path: string,
  type?: string,
  length?: number,
): string {
  const content = type === undefined ? '' : `Content-Type: ${type}\r\nContent-Length: ${length}\r\n`;
  return `${method} /v1/domains/${job.domain}/${path} HTTP/1.1\r\nHost: tracker\r\nAuthorization: Bearer ${job.token}\r\n${content}\r\n`;
}

function expect(answer: Answer, status: number): Answer {
  if (answer.status === status) return answer;
  throw new Error(`the answer was ${answer.status} instead of ${status}: ${answer.head}`);
}
