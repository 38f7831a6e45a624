// Hazard 6 of docs/consistency.md from the side of whoever names a blob again: copy and undelete against the reaper, with
// the statements of both, in both orders. Beside each stands the same with the copier's lock taken away.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Queryable } from '../../tracker/database/database.ts';
import { copyDirectory, copyFile } from '../../tracker/namespace/relocate.ts';
import { restoreVersion } from '../../tracker/namespace/trash.ts';
import { reap } from '../../tracker/replication/reaper.ts';
import { openNamespace, type TestNamespace } from '../support/namespace.ts';
import { blocked, endedOrBlocked, gate, type Script, scripted, scriptedDatabase } from '../support/script.ts';

let t: TestNamespace;
beforeAll(async () => {
  t = await openNamespace();
  await t.sql(
    `INSERT INTO classes (domain_id, name, trash, prefixes) VALUES ($1, 'brief', false, '{brief/}')`,
    [t.domain.id],
  );
  await t.state.refresh();
});
afterAll(() => t.close());
beforeEach(() => t.sql('TRUNCATE reap'));

interface Copy {
  /** Names the blob again. */
  copy: (tx: Queryable) => Promise<unknown>;
  /** Takes the blob's last name away. */
  unname: () => Promise<unknown>;
  /** The copier's statement before which the others come. */
  at: string;
}

/** 'named', or the problem that a copy got. */
const outcomeOf = (copying: Promise<unknown>): Promise<string> =>
  copying.then(
    () => 'named',
    (error) => error.problem ?? error.message,
  );

function start({ copy, at }: Copy, script: Script) {
  const stop = gate();
  const before = { [at]: stop.pass };
  const copying = outcomeOf(t.db.transaction((tx) => copy(scripted(tx, { ...script, before }))));
  return { copying, stop };
}

/** The copier has found the blob and is about to name it; its last name goes, and the reaper comes. */
async function copierFirst(race: Copy, script: Script = {}) {
  const { copying, stop } = start(race, script);
  await stop.reached;
  const unnaming = Promise.allSettled([race.unname()]);
  const before = await endedOrBlocked(t, unnaming);
  const reaping = reap(t.db, 0);
  await endedOrBlocked(t, reaping, before);
  stop.open();
  await unnaming;
  return { copy: await copying, gone: (await reaping).gone };
}

/** The copier has found the name, which goes then; the reaper has let the blob go and holds its transaction. */
async function reaperFirst(race: Copy, script: Script = {}) {
  const { copying, stop } = start(race, script);
  await stop.reached;
  await race.unname();
  const held = gate();
  const reaping = reap(scriptedDatabase(t.db, { before: { 'reaper-done': held.pass } }), 0);
  await held.reached;
  stop.open();
  await blocked(t);
  held.open();
  return { copy: await copying, gone: (await reaping).gone };
}

/** What the names below `path` say of their blobs. */
async function states(path: string): Promise<string[]> {
  const rows = await t.sql<{ said: string }>(
    `SELECT n.name || ' ' || b.state AS said FROM names n JOIN dirs d ON d.id = n.dir_id JOIN blobs b ON b.fid = n.fid
      WHERE d.path = $1 ORDER BY 1`,
    [path],
  );
  return rows.map(({ said }) => said);
}

describe('a copy of a file', () => {
  async function copyOf(name: string, at: string): Promise<Copy> {
    const [from, to] = [`brief/${name}`, `${name}/copy`];
    await t.namespace.commit(t.upload(from));
    await t.namespace.makeDirectory(t.domain, name, { parents: true, exclusive: false });
    const chosen = t.state.classFor(t.domain, to);
    return {
      copy: (tx) => copyFile(tx, t.state, { domain: t.domain, from, to }, chosen),
      unname: () => t.namespace.remove(t.domain, from),
      at,
    };
  }

  it('keeps the blob from the reaper', async () => {
    expect(await copierFirst(await copyOf('kept', 'place-name'))).toEqual({ copy: 'named', gone: 0 });
    expect(await states('kept/')).toEqual(['copy live']);
  });

  it('finds no file where the reaper came first', async () => {
    expect(await reaperFirst(await copyOf('late', 'share-blob'))).toEqual({
      copy: 'file-not-found',
      gone: 1,
    });
    expect(await states('late/')).toEqual([]);
  });

  it('would name what is gone, were the blob not shared first', async () => {
    const omit = ['share-blob'];
    expect(await copierFirst(await copyOf('lost', 'place-name'), { omit })).toEqual({
      copy: 'named',
      gone: 1,
    });
    expect(await states('lost/')).toEqual(['copy gone']);
    expect(await reaperFirst(await copyOf('lost-late', 'place-name'), { omit })).toEqual({
      copy: 'named',
      gone: 1,
    });
    expect(await states('lost-late/')).toEqual(['copy gone']);
  });
});

describe('a version that is restored', () => {
  async function restoreOf(name: string): Promise<Copy> {
    const key = `${name}/file`;
    const upload = t.upload(key);
    await t.namespace.commit(upload);
    await t.namespace.remove(t.domain, key);
    // Another name of the blob went before: the reaper is to look at it.
    await t.sql('INSERT INTO reap (fid) VALUES ($1)', [upload.fid]);
    const { versions } = await t.namespace.listTrash(t.domain, { prefix: key, limit: 1 });
    const id = versions[0]?.id as number;
    return {
      copy: (tx) => restoreVersion(tx, t.state, t.domain, id, {}),
      unname: () => t.namespace.purgeVersion(t.domain, id),
      at: 'place-name',
    };
  }

  it('is not given up meanwhile, and its blob stays', async () => {
    expect(await copierFirst(await restoreOf('restored'))).toEqual({ copy: 'named', gone: 0 });
    expect(await states('restored/')).toEqual(['file live']);
  });

  it('would name what is gone, were version and blob not locked', async () => {
    const unlocked = (text: string) => text.replace('FOR UPDATE OF t FOR KEY SHARE OF b', '');
    const race = await restoreOf('restored-gone');
    expect(await copierFirst(race, { alter: { 'trash-lock': unlocked } })).toEqual({
      copy: 'named',
      gone: 1,
    });
    expect(await states('restored-gone/')).toEqual(['file gone']);
  });
});

describe('a copy of a directory', () => {
  /**
   * Somebody holds the blob of the first file, so that the statement which copies the names stands between its look and
   * its end. Meanwhile the second file is removed and reaped.
   */
  async function copyHeldUp(name: string, script: Script) {
    const [from, to] = [`brief/${name}`, name];
    const [first, second] = [t.upload(`${from}/1`), t.upload(`${from}/2`)];
    for (const upload of [first, second]) await t.namespace.commit(upload);
    const holder = await t.connect();
    await holder.query('BEGIN');
    await holder.query('SELECT FROM blobs WHERE fid = $1 FOR UPDATE', [first.fid]);
    const copying = outcomeOf(
      t.db.transaction((tx) => copyDirectory(scripted(tx, script), t.state, { domain: t.domain, from, to })),
    );
    await blocked(t);
    await t.namespace.remove(t.domain, second.key);
    const { gone } = await reap(t.db, 0);
    await holder.query('ROLLBACK');
    return { copy: await copying, gone };
  }

  it('leaves out what was reaped meanwhile', async () => {
    expect(await copyHeldUp('tree', {})).toEqual({ copy: 'named', gone: 1 });
    expect(await states('tree/')).toEqual(['1 live']);
  });

  it('would name what is gone, were the blobs not shared', async () => {
    const unshared = (text: string) => text.replace('FOR KEY SHARE OF b', '');
    expect(await copyHeldUp('tree-gone', { alter: { 'copy-names': unshared } })).toEqual({
      copy: 'named',
      gone: 1,
    });
    expect(await states('tree-gone/')).toEqual(['1 live', '2 gone']);
  });
});
