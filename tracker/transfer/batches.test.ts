import { expect, it } from 'vitest';
import { Problem } from '../../services/problems.ts';
import type { BatchEntry, BatchResult } from '../../services/protocol.ts';
import type { DeviceState } from '../cluster/state.ts';
import { Batches } from './batches.ts';

const device = (id: number, host: number) => ({ id, host: { id: host } }) as DeviceState;
const order = (fid: number, more: { signal?: AbortSignal } = {}) => {
  const binding = { domain: 'd', key: `k${fid}`, class: 'default' };
  return { fid, max: 1, binding, body: Buffer.from(`${fid}`), ...more };
};
const turn = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

interface Sent {
  host: number;
  entries: BatchEntry[];
  bytes: string;
  answer(results: BatchResult[]): void;
  fail(error: Error): void;
}

/** Batches that are answered by hand. */
function held() {
  const sent: Sent[] = [];
  const batches = new Batches(
    (to, { manifest, body }) =>
      new Promise((answer, fail) => {
        const entries = JSON.parse(manifest.toString()) as BatchEntry[];
        sent.push({ host: to.host.id, entries, bytes: `${body.subarray(manifest.length)}`, answer, fail });
      }),
  );
  return { batches, sent };
}

it('sends what comes together for a host in one request, to whichever of its devices', async () => {
  const { batches, sent } = held();
  const all = [batches.put(device(1, 1), order(5)), batches.put(device(2, 1), order(6))];
  const elsewhere = batches.put(device(3, 2), order(5));
  await turn();
  expect(
    sent.map(({ host, entries }) => [host, ...entries.map(({ dev, fid }) => `${fid} to ${dev}`)]),
  ).toEqual([
    [1, '5 to 1', '6 to 2'],
    [2, '5 to 3'],
  ]);
  expect(sent[0]?.bytes).toBe('56');
  sent[0]?.answer([{ size: 1, sha256: 'x' }, new Problem('insufficient-storage').toJSON()]);
  expect(await all[0]).toEqual({ fid: 5, size: 1, sha256: 'x' });
  await expect(all[1]).rejects.toMatchObject({ problem: 'insufficient-storage' });
  sent[1]?.answer([{ size: 1, sha256: 'y' }]);
  expect(await elsewhere).toEqual({ fid: 5, size: 1, sha256: 'y' });
});

it('fails what waits behind a request that failed: it has no time to wait for its own', async () => {
  const { batches, sent } = held();
  const outcomes: Promise<unknown>[] = [];
  for (const fid of [1, 2, 3]) {
    outcomes.push(batches.put(device(1, 1), order(fid)).catch((error: Error) => error.message));
    await turn();
  }
  expect(sent.map(({ entries }) => entries.map(({ fid }) => fid))).toEqual([[1], [2]]);
  sent[0]?.fail(new Error('stalled'));
  expect(await Promise.all([outcomes[0], outcomes[2]])).toEqual(['stalled', 'stalled']);
  sent[1]?.answer([{ size: 1, sha256: 'x' }]);
  expect(await outcomes[1]).toMatchObject({ fid: 2 });
});

it('gives one blob up without the others of its request', async () => {
  const { batches, sent } = held();
  const straggler = new AbortController();
  const given = batches.put(device(1, 1), order(1, { signal: straggler.signal }));
  const kept = batches.put(device(1, 1), order(2));
  await turn();
  straggler.abort(new Error('slower than the others'));
  await expect(given).rejects.toThrow('slower than the others');
  sent[0]?.answer([
    { size: 1, sha256: 'x' },
    { size: 1, sha256: 'y' },
  ]);
  expect(await kept).toMatchObject({ fid: 2 });
});
