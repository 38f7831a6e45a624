// What the namespace promises, on a real PostgreSQL.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openNamespace, type TestNamespace } from '../../test/support/namespace.ts';
import type { FoundFile } from './types.ts';

let t: TestNamespace;
beforeAll(async () => {
  t = await openNamespace();
});
afterAll(() => t.close());

const problem = (name: string) => expect.objectContaining({ problem: name });
const keys = async (key: string, recursive = false) =>
  (await t.namespace.list(t.domain, key, { recursive, limit: 1000 })).entries.map((entry) => entry.key);

describe('commit', () => {
  it('names an upload, makes the directories above it, and finds it', async () => {
    const upload = t.upload('a/b/c.txt', 'hello', { meta: { mode: 420 } });
    const { created, entry } = await t.namespace.commit(upload);
    expect(created).toBe(true);
    expect(entry).toMatchObject({ key: 'a/b/c.txt', size: 5, class: 'default', meta: { mode: 420 } });
    const found = await t.namespace.find(t.domain, 'a/b/c.txt');
    expect(found).toMatchObject({ kind: 'file', fid: upload.fid, sha256: upload.sha256, devices: [1, 2] });
    expect(await t.namespace.find(t.domain, 'a/b')).toMatchObject({ kind: 'directory' });
    expect(await t.namespace.find(t.domain, 'a/b/d')).toBeUndefined();
  });

  it('repeats the first answer for the same fid and changes nothing, whatever its precondition', async () => {
    const upload = t.upload('repeat', 'one', { precondition: { ifNoneMatch: '*' } });
    expect((await t.namespace.commit(upload)).created).toBe(true);
    expect((await t.namespace.commit(upload)).created).toBe(true);
    await t.namespace.commit(t.upload('repeat', 'two'));
    expect((await t.namespace.commit(upload)).created).toBe(true);
    expect((await t.namespace.find(t.domain, 'repeat')) as FoundFile).not.toMatchObject({ fid: upload.fid });
  });

  it('lets exactly one of many exclusive creates win, also within one batch', async () => {
    const racers = Array.from({ length: 50 }, (_, i) =>
      t.namespace.commit(t.upload('race', `racer ${i}`, { precondition: { ifNoneMatch: '*' } })),
    );
    const settled = await Promise.allSettled(racers);
    const lost = settled.filter((result) => result.status === 'rejected');
    expect(lost).toHaveLength(49);
    for (const { reason } of lost) expect(reason).toEqual(problem('precondition-failed'));
  });

  it('makes the successes of If-Match a chain', async () => {
    const first = t.upload('chain', 'v0');
    await t.namespace.commit(first);
    const attempts = Array.from({ length: 10 }, (_, i) =>
      t.namespace.commit(t.upload('chain', `v1 by ${i}`, { precondition: { ifMatch: [first.sha256] } })),
    );
    const settled = await Promise.allSettled(attempts);
    expect(settled.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
  });

  it('refuses If-Match on a key that names nothing, with 412 and not 404', async () => {
    const upload = t.upload('nothing/here', 'x', { precondition: { ifMatch: '*' } });
    await expect(t.namespace.commit(upload)).rejects.toEqual(problem('precondition-failed'));
  });

  it('keeps files and directories apart', async () => {
    await t.namespace.commit(t.upload('apart/file'));
    await expect(t.namespace.commit(t.upload('apart/file/below'))).rejects.toEqual(
      problem('not-a-directory'),
    );
    await expect(t.namespace.commit(t.upload('apart'))).rejects.toEqual(problem('is-a-directory'));
  });

  it('refuses too few hosts, and leaves the key as it was', async () => {
    await t.namespace.commit(t.upload('few', 'before'));
    const before = await t.namespace.find(t.domain, 'few');
    const lonely = t.upload('few', 'after', { devices: [1] });
    await expect(t.namespace.commit(lonely)).rejects.toEqual(problem('too-few-devices'));
    expect(await t.namespace.find(t.domain, 'few')).toEqual(before);
    expect(await t.sql('SELECT 1 FROM blobs WHERE fid = $1', [lonely.fid])).toEqual([]);
  });

  it('refuses a burned fid, and does not burn a committed one', async () => {
    const late = t.upload('late');
    await t.namespace.burn([{ fid: late.fid, devices: [1, 2] }]);
    await expect(t.namespace.commit(late)).rejects.toEqual(problem('upload-void'));
    const good = t.upload('good');
    await t.namespace.commit(good);
    await t.namespace.burn([{ fid: good.fid, devices: [1, 2] }]);
    expect(await t.namespace.find(t.domain, 'good')).toMatchObject({ devices: [1, 2] });
  });

  it('names all of several uploads or none', async () => {
    await t.namespace.commit(t.upload('several/there'));
    const uploads = ['several/new', 'several/there'].map((key) =>
      t.upload(key, key, { precondition: { ifNoneMatch: '*' } }),
    );
    await expect(t.namespace.commitAll(uploads)).rejects.toEqual(problem('precondition-failed'));
    expect(await keys('several')).toEqual(['several/there']);
  });

  it('repeats the first answer for an Idempotency-Key, and refuses it for another request', async () => {
    const idempotency = { key: 'once', request: 'PUT /once' };
    const answer = () => ({ status: 201, body: 'first' });
    const first = await t.namespace.commitOnce(t.domain, [t.upload('once', '1')], idempotency, answer);
    expect(first.repeated).toBe(false);
    const second = t.upload('once', '2');
    const again = await t.namespace.commitOnce(t.domain, [second], idempotency, answer);
    expect(again).toEqual({ answer: { status: 201, body: 'first' }, repeated: true });
    expect(await t.namespace.find(t.domain, 'once')).not.toMatchObject({ fid: second.fid });
    const other = { key: 'once', request: 'PUT /other' };
    await expect(t.namespace.firstAnswer(t.domain, other)).rejects.toEqual(problem('state-conflict'));
  });
});

describe('copy and move', () => {
  it('moves a file over another, whose version goes to the trash as replaced', async () => {
    const [from, to] = [t.upload('m/from', 'new'), t.upload('m/to', 'old')];
    await t.namespace.commit(from);
    await t.namespace.commit(to);
    const answer = await t.namespace.relocate('move', { domain: t.domain, from: 'm/from', to: 'm/to' });
    expect(answer.status).toBe(200);
    expect(await t.namespace.find(t.domain, 'm/to')).toMatchObject({ fid: from.fid });
    expect(await t.namespace.find(t.domain, 'm/from')).toBeUndefined();
    const { versions } = await t.namespace.listTrash(t.domain, { prefix: 'm/', limit: 10 });
    expect(versions).toMatchObject([{ key: 'm/to', fid: to.fid, reason: 'replaced' }]);
  });

  it('moves a file onto itself without losing it', async () => {
    await t.namespace.commit(t.upload('self'));
    await t.namespace.relocate('move', { domain: t.domain, from: 'self', to: 'self' });
    expect(await t.namespace.find(t.domain, 'self')).toMatchObject({ kind: 'file' });
  });

  it('copies and moves whole directories', async () => {
    for (const key of ['tree/1', 'tree/sub/2', 'tree/sub/deep/3']) await t.namespace.commit(t.upload(key));
    await t.namespace.relocate('copy', { domain: t.domain, from: 'tree', to: 'copies/tree' });
    await t.namespace.relocate('move', { domain: t.domain, from: 'tree', to: 'moved' });
    const below = (root: string) =>
      ['1', 'sub', 'sub/2', 'sub/deep', 'sub/deep/3'].map((key) => `${root}/${key}`);
    expect((await keys('copies/tree', true)).sort()).toEqual(below('copies/tree'));
    expect((await keys('moved', true)).sort()).toEqual(below('moved'));
    expect(await t.namespace.find(t.domain, 'tree')).toBeUndefined();
    expect(await t.namespace.find(t.domain, 'moved/sub/deep/3')).toMatchObject({
      kind: 'file',
      devices: [1, 2],
    });
  });

  it('makes the directory that the target is in, or wants it to exist', async () => {
    await t.namespace.commit(t.upload('strict/x'));
    await t.namespace.commit(t.upload('strict/tree/y'));
    for (const from of ['strict/x', 'strict/tree']) {
      for (const verb of ['copy', 'move'] as const) {
        const relocate = (to: string, parents?: boolean) =>
          t.namespace.relocate(verb, {
            domain: t.domain,
            from,
            to,
            ...(parents === false ? { parents } : {}),
          });
        await expect(relocate('none/there', false)).rejects.toEqual(problem('directory-not-found'));
        expect(await t.namespace.find(t.domain, 'none')).toBeUndefined();
        await relocate(`strict/${verb} of ${from.slice(7)}`, false);
        if (verb === 'copy') await relocate(`made by ${from.slice(7)}/there`);
      }
    }
    expect((await keys('strict')).sort()).toEqual(
      ['copy of tree', 'copy of x', 'move of tree', 'move of x'].map((name) => `strict/${name}`),
    );
  });

  it('refuses to move a directory into itself, over something, or to a key that is too long', async () => {
    await t.namespace.commit(t.upload('into/x'));
    await t.namespace.commit(t.upload('into-other'));
    const move = (to: string) => t.namespace.relocate('move', { domain: t.domain, from: 'into', to });
    await expect(move('into/sub')).rejects.toEqual(problem('move-into-itself'));
    await expect(move('into-other')).rejects.toEqual(problem('already-exists'));
    await t.namespace.commit(t.upload(`into/${'n'.repeat(1000)}`));
    await expect(move('a-rather-long-name-of-30-bytes')).rejects.toEqual(problem('invalid-key'));
    expect(await keys('into')).toHaveLength(2);
  });

  it('gives files the class that their new key chooses, with its copies first', async () => {
    await t.sql(`INSERT INTO classes (domain_id, name, copies, min_copies, prefixes)
      VALUES (${t.domain.id}, 'safe', 3, 3, '{safe/}'), (${t.domain.id}, 'cheap', 1, 1, '{cheap/}')`);
    await t.state.refresh();
    const upload = t.upload('cheap/x', 'x', { devices: [1] });
    await t.namespace.commit(upload);
    // The copies that 'safe' wants are made by hand, as the repair worker would when it sees the queue.
    const copying = t.namespace.relocate('copy', { domain: t.domain, from: 'cheap/x', to: 'safe/x' });
    let queued: object[] = [];
    while (queued.length === 0) queued = await t.sql('SELECT fid FROM repair WHERE fid = $1', [upload.fid]);
    expect(await t.namespace.find(t.domain, 'safe/x')).toBeUndefined();
    await t.sql('INSERT INTO locations (fid, device_id) VALUES ($1, 2), ($1, 3)', [upload.fid]);
    expect(await copying).toMatchObject({ status: 201, body: { class: 'safe' } });
    expect(await t.sql('SELECT want FROM blobs WHERE fid = $1', [upload.fid])).toEqual([{ want: 3 }]);

    await t.namespace.commit(t.upload('plain/sub/y'));
    await t.namespace.relocate('move', { domain: t.domain, from: 'plain', to: 'cheap/plain' });
    expect(await t.namespace.find(t.domain, 'cheap/plain/sub/y')).toMatchObject({ class: 'cheap' });
  });
});

describe('directories', () => {
  it('are made with parents, found when empty, and removed when empty', async () => {
    const made = await t.namespace.makeDirectory(t.domain, 'd/e/f', { parents: true, exclusive: false });
    expect(made).toMatchObject({ created: true, entry: { kind: 'directory', key: 'd/e/f' } });
    const again = await t.namespace.makeDirectory(t.domain, 'd/e/f', { parents: true, exclusive: false });
    expect(again.created).toBe(false);
    await expect(
      t.namespace.makeDirectory(t.domain, 'no/parent', { parents: false, exclusive: false }),
    ).rejects.toEqual(problem('directory-not-found'));
    await expect(t.namespace.removeDirectory(t.domain, 'd', false)).rejects.toEqual(
      problem('directory-not-empty'),
    );
    await t.namespace.removeDirectory(t.domain, 'd/e/f', false);
    expect(await keys('d', true)).toEqual(['d/e']);
  });

  it('are removed with all below, which goes to the trash and can be restored', async () => {
    const upload = t.upload('gone/x/y', 'y');
    await t.namespace.commit(upload);
    await t.namespace.removeDirectory(t.domain, 'gone', true);
    expect(await t.namespace.find(t.domain, 'gone/x/y')).toBeUndefined();
    const { versions } = await t.namespace.listTrash(t.domain, { prefix: 'gone/', limit: 10 });
    expect(versions).toMatchObject([{ key: 'gone/x/y', reason: 'deleted', fid: upload.fid }]);
    expect(await t.sql("SELECT path FROM dirs WHERE path >= '/' AND path < '0'")).toEqual([]);
    const answer = await t.namespace.restore(t.domain, versions[0]?.id as number, {});
    expect(answer).toMatchObject({ status: 201, body: { key: 'gone/x/y' } });
    expect(await t.namespace.find(t.domain, 'gone/x/y')).toMatchObject({ fid: upload.fid });
  });

  it('are removed several at once, the missing ones too, but nothing if one is a file', async () => {
    for (const key of ['batch/1/x', 'batch/2/sub/y', 'batch/file']) await t.namespace.commit(t.upload(key));
    const remove = (...names: string[]) =>
      t.namespace.removeDirectories(
        t.domain,
        names.map((name) => `batch/${name}`),
      );
    await expect(remove('1', 'file')).rejects.toEqual(problem('not-a-directory'));
    expect(await keys('batch/1')).toHaveLength(1);
    await remove('1', 'none', '2', '2/sub');
    expect(await keys('batch', true)).toEqual(['batch/file']);
  });

  it('are listed page by page, in byte order, one level or all below', async () => {
    const names = ['B', 'a', 'a.b/x', 'a b', 'ä', 'z/1', 'z/2', 'z/y/3', '😀'];
    for (const name of names.filter((name) => name !== 'a'))
      await t.namespace.commit(t.upload(`list/${name}`));
    await t.namespace.commit(t.upload('list/a/inside'));
    const level = await pages('list', false, 2);
    expect(level).toEqual(['B', 'a', 'a b', 'a.b', 'z', 'ä', '😀'].map((name) => `list/${name}`));
    const below = await pages('list', true, 3);
    expect(below).toEqual(
      ['B', 'a b', 'ä', '😀', 'a.b', 'a.b/x', 'a', 'a/inside', 'z', 'z/1', 'z/2', 'z/y', 'z/y/3'].map(
        (name) => `list/${name}`,
      ),
    );
    expect((await pages('', true, 5)).filter((key) => key.startsWith('list/'))).toEqual(below);
  });

  it('can all be removed by emptying the root', async () => {
    const other = await openNamespace();
    try {
      for (const key of ['top', 'dir/file']) await other.namespace.commit(other.upload(key));
      await other.namespace.removeDirectory(other.domain, '', true);
      expect((await other.namespace.list(other.domain, '', { recursive: true, limit: 10 })).entries).toEqual(
        [],
      );
      await other.namespace.commit(other.upload('dir/again'));
      expect(await other.namespace.find(other.domain, 'dir/again')).toBeDefined();
    } finally {
      await other.close();
    }
  });

  async function pages(key: string, recursive: boolean, limit: number): Promise<string[]> {
    const all: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await t.namespace.list(t.domain, key, { recursive, limit, ...(cursor ? { cursor } : {}) });
      expect(page.entries.length).toBeLessThanOrEqual(limit);
      all.push(...page.entries.map((entry) => entry.key));
      cursor = page.next;
    } while (cursor !== undefined);
    return all;
  }
});

describe('trash', () => {
  it('keeps deleted and replaced versions, except where the class says no', async () => {
    await t.sql(
      `INSERT INTO classes (domain_id, name, prefixes, trash) VALUES (${t.domain.id}, 'thumbs', '{thumbs/}', false)`,
    );
    await t.state.refresh();
    for (const text of ['1', '2']) await t.namespace.commit(t.upload('kept/x', text));
    await t.namespace.remove(t.domain, 'kept/x');
    const thumb = t.upload('thumbs/x');
    await t.namespace.commit(thumb);
    await t.namespace.remove(t.domain, 'thumbs/x');
    const kept = await t.namespace.listTrash(t.domain, { prefix: 'kept/', limit: 10 });
    expect(kept.versions.map((version) => version.reason)).toEqual(['replaced', 'deleted']);
    expect((await t.namespace.listTrash(t.domain, { prefix: 'thumbs/', limit: 10 })).versions).toEqual([]);
    expect(await t.sql('SELECT fid FROM reap WHERE fid = $1', [thumb.fid])).toEqual([
      { fid: String(thumb.fid) },
    ]);
  });

  it('restores under a precondition, and elsewhere', async () => {
    const upload = t.upload('r/x', 'lost');
    await t.namespace.commit(upload);
    await t.namespace.remove(t.domain, 'r/x');
    await t.namespace.commit(t.upload('r/x', 'newer'));
    const { versions } = await t.namespace.listTrash(t.domain, { prefix: 'r/', limit: 10 });
    const id = versions[0]?.id as number;
    await expect(t.namespace.restore(t.domain, id, { precondition: { ifNoneMatch: '*' } })).rejects.toEqual(
      problem('precondition-failed'),
    );
    expect(await t.namespace.restore(t.domain, id, { to: 'r/y' })).toMatchObject({ status: 201 });
    await expect(t.namespace.restore(t.domain, id, {})).rejects.toEqual(problem('not-found'));
  });

  it('gives a version up, which queues its bytes for reaping', async () => {
    const upload = t.upload('p/x');
    await t.namespace.commit(upload);
    await t.namespace.remove(t.domain, 'p/x');
    const { versions } = await t.namespace.listTrash(t.domain, { prefix: 'p/', limit: 10 });
    await t.namespace.purgeVersion(t.domain, versions[0]?.id as number);
    expect(await t.sql('SELECT 1 FROM reap WHERE fid = $1', [upload.fid])).toHaveLength(1);
  });
});

it('changes what is kept about a file', async () => {
  await t.namespace.commit(t.upload('meta', 'x', { meta: { a: 1 } }));
  const mtime = new Date('2020-02-02T02:02:02.000Z');
  const entry = await t.namespace.patch(t.domain, 'meta', {
    contentType: 'image/png',
    mtime,
    meta: { b: 2 },
  });
  expect(entry).toMatchObject({ contentType: 'image/png', mtime: mtime.toISOString(), meta: { b: 2 } });
  await expect(t.namespace.patch(t.domain, 'absent', {})).rejects.toEqual(problem('file-not-found'));
});
