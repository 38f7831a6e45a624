// `cistern import mogilefs`: what a MogileFS holds comes in with its domains, classes and keys, and a second run takes
// what is new. The MogileFS is test/support/mogilefs.ts, its dumps are of
// test/support/mogilefs-dump.ts.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { jsonLines, useCistern } from './support/cistern.ts';
import { useCluster } from './support/cluster.ts';
import { FakeMogile } from './support/mogilefs.ts';
import { mountDevices, mysqlDump, postgresDump } from './support/mogilefs-dump.ts';

vi.setConfig({ testTimeout: 120_000 });

const cluster = useCluster();
const { admin } = useCistern(cluster);
const mogile = new FakeMogile({ images: { default: 2, Thumbs: 1, rare: 3 }, 'Old Domain': { default: 2 } });
beforeAll(() => mogile.start());
afterAll(() => mogile.stop());

type Line = Record<string, unknown> & { event: string; path: string };
const importing = (args: string[], code = 0) =>
  jsonLines<Line>(admin(['import', 'mogilefs', mogile.address, '--json', ...args]), code);
const read = (domain: string, key: string) => admin(['cat', '--domain', domain, key]);
const stat = async (key: string) =>
  (await jsonLines(admin(['stat', '--json', '--domain', 'images', key])))[0];

test("domains, classes and keys come in; the next run takes what is new, and nothing that is the site's own", async () => {
  const large = Buffer.alloc(9 * 1024 * 1024, 'large');
  mogile.put('images', 'a/b c.jpg', 'small');
  mogile.put('images', 'thumb', 'thumb', 'Thumbs');
  mogile.put('images', 'ümläut', 'rare', 'rare');
  mogile.put('images', 'large', large);
  mogile.put('images', 'empty', '');
  mogile.put('images', '/slash', 'slash');
  mogile.put('Old Domain', 'other', 'of the other domain');
  const map = ['--map', 'Old Domain=old.example'];
  expect((await admin(['import', 'mogilefs', mogile.address])).stderr).toContain(
    "'Old Domain' cannot be the name",
  );

  expect((await importing(['--dry-run', ...map], 1)).at(-1)).toMatchObject({ files: 7, stored: 6, left: 1 });
  const lines = await importing(map, 1);
  expect(lines.at(-1)).toMatchObject({ domains: 2, files: 7, stored: 6, left: 1, failed: 0 });
  expect(lines[0]).toMatchObject({ event: 'left', domain: 'images', path: '/slash' });
  expect((await read('images', 'a/b c.jpg')).stdout).toBe('small');
  expect((await read('images', 'large')).bytes.equals(large)).toBe(true);
  expect((await read('old.example', 'other')).stdout).toBe('of the other domain');
  expect(await stat('thumb')).toMatchObject({ class: 'thumbs', mtime: '2020-01-01T00:00:00.000Z' });
  const classes = await jsonLines(admin(['class', 'list', '--json', '--domain', 'images']));
  expect(classes).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ name: 'default', copies: 2 }),
      expect.objectContaining({ name: 'thumbs', copies: 1, minCopies: 1 }),
      expect.objectContaining({ name: 'rare', copies: 3, minCopies: 2 }),
    ]),
  );

  mogile.put('images', 'a/b c.jpg', 'a new version');
  mogile.put('images', 'own', "MogileFS's");
  await cluster().request('PUT', '/v1/domains/images/files/own', {
    token: cluster().adminToken,
    body: "the site's own",
  });
  const again = await importing(['--strip-slashes', ...map], 1);
  expect(again.at(-1)).toMatchObject({ files: 8, stored: 2, upToDate: 5, conflicts: 1, left: 0 });
  expect((await read('images', 'a/b c.jpg')).stdout).toBe('a new version');
  expect((await read('images', 'slash')).stdout).toBe('slash');
  expect((await read('images', 'own')).stdout).toBe("the site's own");
});

test('a copy that is not what the tracker says is passed over for another; without a good one nothing is stored', async () => {
  mogile.put('images', 'checked', 'the right bytes');
  mogile.spoiled.add(1);
  const only = ['--only', 'images', '--strip-slashes'];
  expect((await importing(only, 1)).at(-1)).toMatchObject({ stored: 1, failed: 0 });
  expect((await read('images', 'checked')).stdout).toBe('the right bytes');
  mogile.spoiled.add(2);
  mogile.put('images', 'lost', 'nowhere good');
  const lines = await importing(only, 1);
  expect(lines.find(({ event }) => event === 'failed')).toMatchObject({ path: 'lost' });
  expect((await read('images', 'lost')).code).toBe(1);
});

test('a tracker that is not there is exit code 2', async () => {
  const ran = await admin(['import', 'mogilefs', '127.0.0.1:1']);
  expect(ran.code).toBe(2);
  expect(ran.stderr).toMatch(/^cistern: cannot reach MogileFS's tracker at 127\.0\.0\.1:1 .*\n$/);
});

describe('a dump of the database', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'cistern-dump-'));
  const odd = `it's "odd" \\ ünd (1),(2);\t日本`;
  const old = new FakeMogile({ shop: { default: 2, Rare: 3 }, empty: { default: 2 } });
  beforeAll(async () => {
    await old.start();
    old.put('shop', odd, 'of an odd name');
    old.put('shop', 'rare', 'rare', 'Rare');
    old.put('shop', 'large', Buffer.alloc(9 * 1024 * 1024, 'large'));
    for (let i = 0; i < 20; i++) old.put('shop', `many/${i}`, `the text of ${i}`);
  });
  afterAll(() => {
    old.stop();
    rmSync(scratch, { recursive: true, force: true });
  });
  const dumped = (name: string, dump: string | Buffer) => {
    writeFileSync(join(scratch, name), dump);
    return join(scratch, name);
  };
  const moving = (args: string[], code = 0) =>
    jsonLines<Line>(admin(['import', 'mogilefs', '--json', ...args]), code);

  test('of MySQL says what there is, and the storage nodes have it', async () => {
    const lines = await moving(['--dump', dumped('mysql.sql', mysqlDump(old)), '--map', 'shop=from-mysql']);
    expect(lines.at(-1)).toMatchObject({ domains: 2, files: 23, stored: 23, left: 0, failed: 0 });
    expect((await read('from-mysql', odd)).stdout).toBe('of an odd name');
    expect((await read('from-mysql', 'many/13')).stdout).toBe('the text of 13');
    const [rare] = await jsonLines(admin(['stat', '--json', '--domain', 'from-mysql', 'rare']));
    expect(rare).toMatchObject({ class: 'rare', meta: { mogilefsFid: '2' } });
    const again = await moving(['--dump', join(scratch, 'mysql.sql'), '--map', 'shop=from-mysql']);
    expect(again.at(-1)).toMatchObject({ stored: 0, upToDate: 23 });
  });

  test('of PostgreSQL, with its devices mounted here: a copy that is not right is passed over', async () => {
    old.spoiled.add(1);
    mountDevices(old, scratch);
    const how = ['--dump', dumped('postgres.sql', postgresDump(old)), '--devices', scratch, '--only', 'shop'];
    const lines = await moving([...how, '--map', 'shop=from-disks']);
    expect(lines.at(-1)).toMatchObject({ domains: 1, files: 23, stored: 23, left: 0, failed: 0 });
    expect((await read('from-disks', odd)).stdout).toBe('of an odd name');
    expect((await read('from-disks', 'large')).bytes).toHaveLength(9 * 1024 * 1024);
    rmSync(join(scratch, 'dev2'), { recursive: true });
    const lost = await moving([...how, '--map', 'shop=nowhere'], 1);
    expect(lost.at(-1)).toMatchObject({ stored: 0, failed: 23 });
  });

  test('that is none, or wrong use, is exit code 2', async () => {
    for (const args of [
      ['--dump', dumped('none.sql', 'SELECT 1;\n')],
      ['--dump', join(scratch, 'missing.sql')],
      [],
      [old.address, '--dump', join(scratch, 'none.sql')],
      [old.address, '--devices', scratch],
    ]) {
      const ran = await admin(['import', 'mogilefs', ...args]);
      expect([args, ran.code, ran.stderr]).toEqual([args, 2, expect.stringMatching(/^cistern: .+\n$/)]);
    }
  });
});
