// Keys may hold anything but NUL and the segments '', '.' and '..', and come back exactly.
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { encodeKey } from '../services/keys.ts';
import { useCluster } from './support/cluster.ts';
import { filesOf } from './support/files.ts';

const cluster = useCluster();
const { put, get, remove } = filesOf(cluster);

const odd = [
  '#',
  '?',
  '%',
  '+',
  ' ',
  '&',
  '=',
  '"',
  "'",
  '\\',
  ':',
  ';',
  '~',
  '%2F',
  '%00',
  '%25',
  '\n',
  '\x7f',
  'ü',
  '𝄞',
  '👩‍👧',
  '\u202e',
  '...',
];
const segment = fc
  .oneof(
    fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }),
    fc.array(fc.constantFrom(...odd), { minLength: 1, maxLength: 6 }).map((parts) => parts.join('')),
  )
  .map((text) => text.replaceAll('/', '').replaceAll('\0', ''))
  .filter((text) => !['', '.', '..'].includes(text) && text.isWellFormed());
const keys = fc.array(segment, { minLength: 1, maxLength: 4 }).map((segments) => segments.join('/'));

async function listed(directory: string): Promise<string[]> {
  const found: string[] = [];
  for (let cursor: string | undefined = ''; cursor !== undefined; ) {
    const query: string = `?recursive=true&limit=3${cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`}`;
    const page = await cluster().request(
      'GET',
      `/v1/domains/demo/directories/${encodeKey(directory)}${query}`,
    );
    const { entries, next } = (await page.json()) as {
      entries: { key: string; kind: string }[];
      next?: string;
    };
    found.push(...entries.filter(({ kind }) => kind === 'file').map(({ key }) => key));
    cursor = next;
  }
  return found;
}

it('come back exactly from PUT, list, move and GET', async () => {
  let run = 0;
  await fc.assert(
    fc.asyncProperty(keys, keys, async (one, other) => {
      run++;
      const [from, to] = [`run ${run}/from/${one}`, `run ${run}/to/${other}`];
      const stored = await put(from, one);
      expect([stored.status, ((await stored.json()) as { key: string }).key]).toEqual([201, from]);
      expect(await listed(`run ${run}`)).toEqual([from]);
      const moved = await cluster().request('POST', '/v1/domains/demo/move', { body: { from, to } });
      expect([moved.status, ((await moved.json()) as { key: string }).key]).toEqual([201, to]);
      expect(await listed(`run ${run}`)).toEqual([to]);
      expect(await (await get(to)).text()).toBe(one);
      expect((await get(from)).status).toBe(404);
      expect((await remove(to)).status).toBe(204);
    }),
    { numRuns: 150 },
  );
}, 120_000);

it('may be 1,024 bytes long', async () => {
  const key = `${'d'.repeat(500)}/${'ü'.repeat(261)}x`;
  expect(Buffer.byteLength(key)).toBe(1_024);
  expect((await put(key, 'x')).status).toBe(201);
  expect(await (await get(key)).text()).toBe('x');
});
