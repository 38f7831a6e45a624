// Direct uploads: open, PUT to a storage node, commit with its receipt. And every receipt that must be refused.
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Keyring, type Receipt, signPart } from '../services/tickets.ts';
import { useCluster } from './support/cluster.ts';
import { digestField, filesOf, problemOf, sha256, sql } from './support/files.ts';
import { waitFor } from './support/wait.ts';

const cluster = useCluster();
const { get, remove } = filesOf(cluster);

async function open(key: string, size: number, options: { class?: string } = {}) {
  const answer = await cluster().request('POST', '/v1/domains/demo/uploads', {
    body: { key, size, ...options },
  });
  return {
    status: answer.status,
    ...((await answer.json()) as { fid: number; url: string; expires: string }),
  };
}

async function send(url: string, bytes: Uint8Array, headers: Record<string, string> = {}): Promise<Receipt> {
  const answer = await fetch(url, { method: 'PUT', body: bytes as never, headers });
  expect(answer.status).toBeLessThan(300);
  return (await answer.json()) as Receipt;
}

const commit = (
  fid: number,
  receipt: Receipt,
  more: { domain?: string; headers?: Record<string, string>; body?: object } = {},
) =>
  cluster().request('POST', `/v1/domains/${more.domain ?? 'demo'}/uploads/${fid}/commit`, {
    body: { receipt, ...more.body },
    ...(more.headers === undefined ? {} : { headers: more.headers }),
    token: more.domain === undefined ? cluster().token : cluster().adminToken,
  });

async function uploaded(key: string, bytes: Uint8Array) {
  const { fid, url } = await open(key, bytes.length);
  return { fid, receipt: await send(url, bytes) };
}

describe('a direct upload', () => {
  it.each([0, 4_096, 5 * 1024 * 1024])('of %i bytes is on two hosts when its receipt comes', async (size) => {
    const bytes = randomBytes(size);
    const { fid, url, status } = await open(`direct/${size}.png`, size);
    expect(status).toBe(201);
    const receipt = await send(url, bytes, { 'repr-digest': digestField(bytes) });
    expect(new Set(receipt.parts.map(({ host }) => host)).size).toBe(2);
    expect((await get(`direct/${size}.png`)).status).toBe(404);
    const answer = await commit(fid, receipt, {
      body: { mtime: '2020-01-01T00:00:00Z', meta: { mode: 420 } },
    });
    expect([answer.status, answer.headers.get('etag')]).toEqual([201, `"${sha256(bytes)}"`]);
    const entry = {
      fid,
      size,
      contentType: 'image/png',
      mtime: '2020-01-01T00:00:00.000Z',
      meta: { mode: 420 },
    };
    expect(await answer.json()).toMatchObject(entry);
    const read = await get(`direct/${size}.png`);
    expect(Buffer.from(await read.arrayBuffer()).equals(bytes)).toBe(true);
  });

  it('takes not one byte more than was opened', async () => {
    const { url } = await open('direct/bounded', 10);
    const answer = await fetch(url, { method: 'PUT', body: Buffer.alloc(11) });
    expect(await problemOf(answer)).toEqual({ name: 'body-too-large', status: 413 });
  });

  it('is committed under its condition', async () => {
    const first = await uploaded('direct/exclusive', Buffer.from('one'));
    const second = await uploaded('direct/exclusive', Buffer.from('two'));
    const headers = { 'if-none-match': '*' };
    expect((await commit(first.fid, first.receipt, { headers })).status).toBe(201);
    expect(await problemOf(await commit(second.fid, second.receipt, { headers }))).toEqual({
      name: 'precondition-failed',
      status: 412,
    });
    // A lost answer, retried: the condition is not looked at again.
    expect((await commit(first.fid, first.receipt, { headers })).status).toBe(201);
    expect(await (await get('direct/exclusive')).text()).toBe('one');
  });

  it('gets the first answer when its receipt is repeated, and changes nothing', async () => {
    const { fid, receipt } = await uploaded('direct/repeated', Buffer.from('x'));
    expect((await commit(fid, receipt)).status).toBe(201);
    await remove('direct/repeated');
    expect((await commit(fid, receipt)).status).toBe(201);
    expect((await get('direct/repeated')).status).toBe(404);
  });

  it('has more copies made when its receipt is of too few devices', async () => {
    const { fid, receipt } = await uploaded('direct/short', Buffer.from('bytes of a short chain'));
    const [part] = receipt.parts;
    const answer = await commit(fid, { ...receipt, parts: part === undefined ? [] : [part] });
    expect(answer.status).toBe(201);
    const hosts = await sql<{ host_id: number }>(
      cluster(),
      "SELECT DISTINCT d.host_id FROM locations l JOIN devices d ON d.id = l.device_id WHERE l.fid = $1 AND l.state = 'good'",
      [fid],
    );
    expect(hosts).toHaveLength(2);
    expect(await (await get('direct/short')).text()).toBe('bytes of a short chain');
  });
});

describe('a receipt is refused', () => {
  it('if anything in it was altered', async () => {
    const { fid, receipt } = await uploaded('direct/altered', Buffer.from('x'));
    const [part] = receipt.parts as [Receipt['parts'][0]];
    const other = receipt.parts[1] as Receipt['parts'][0];
    const altered: Partial<Receipt>[] = [
      { size: 2 },
      { sha256: sha256('y') },
      { key: 'direct/elsewhere' },
      { class: 'other' },
      { parts: [{ ...part, dev: other.dev }] },
      { parts: [{ ...part, at: part.at + 1 }] },
      { parts: [{ ...part, host: other.host }] },
      { parts: [{ ...part, session: other.session }] },
      { parts: [{ ...part, signature: other.signature }] },
      { parts: [part, { ...other, signature: '' }] },
    ];
    for (const change of altered) {
      const answer = await commit(fid, { ...receipt, ...change });
      expect([change, await problemOf(answer)]).toEqual([change, { name: 'receipt-refused', status: 400 }]);
    }
    expect((await get('direct/altered')).status).toBe(404);
    expect((await get('direct/elsewhere')).status).toBe(404);
    expect((await commit(fid, receipt)).status).toBe(201);
  });

  it('if it is for another fid or another domain', async () => {
    const { fid, receipt } = await uploaded('direct/foreign', Buffer.from('x'));
    await cluster().request('POST', '/v1/domains', {
      token: cluster().adminToken,
      body: { name: 'foreign' },
    });
    for (const answer of [
      await commit(fid + 1, receipt),
      await commit(fid, receipt, { domain: 'foreign' }),
    ]) {
      expect(await problemOf(answer)).toEqual({ name: 'receipt-refused', status: 400 });
    }
  });

  it('if it was signed with a key that is not the node’s, or is older than an hour', async () => {
    const { fid, receipt } = await uploaded('direct/forged', Buffer.from('x'));
    const { parts, ...statement } = receipt;
    const resign = (clusterKey: string, change: { at?: number; session?: string } = {}) => ({
      ...receipt,
      parts: parts.map(({ signature: _signature, ...part }) => {
        const signed = { ...statement, ...part, ...change };
        const [key] = new Keyring(clusterKey).nodeKeys(signed.host, signed.session);
        if (key === undefined) throw new Error('no key');
        return signPart(key, signed);
      }),
    });
    const forged = [
      resign('another cluster key, of 32 bytes or more'),
      resign(cluster().clusterKey, { session: 'a session that never was' }),
      resign(cluster().clusterKey, { at: Date.now() - 3_700_000 }),
    ];
    for (const one of forged) {
      expect(await problemOf(await commit(fid, one))).toEqual({ name: 'receipt-refused', status: 400 });
    }
    // The same forger with the right key and session succeeds, so it is these checks that refused.
    expect((await commit(fid, resign(cluster().clusterKey))).status).toBe(201);
  });

  it('not after its node was started again once, but after two times', async () => {
    const { fid, receipt } = await uploaded('direct/restarted', Buffer.from('x'));
    const later = await uploaded('direct/restarted-twice', Buffer.from('x'));
    for (const node of cluster().nodes) await node.restart();
    await cluster().ready();
    expect((await commit(fid, receipt)).status).toBe(201);
    for (const node of cluster().nodes) await node.restart();
    await cluster().ready();
    const refused = await waitFor(
      async () => {
        const answer = await commit(later.fid, later.receipt);
        return answer.status === 400 ? answer : undefined;
      },
      { what: 'the old receipt to be refused' },
    );
    expect((await problemOf(refused)).name).toBe('receipt-refused');
  });
});
