// The hazards of docs/consistency.md that concern names, each as a scripted interleaving of two sessions. Beside each
// stands the same interleaving with the protection taken away, to show that it is the dangerous one.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Queryable } from '../../tracker/database/database.ts';
import { commitNow } from '../../tracker/namespace/commit.ts';
import { Committer } from '../../tracker/namespace/committer.ts';
import { ensureDirectory } from '../../tracker/namespace/directories.ts';
import type { Upload } from '../../tracker/namespace/types.ts';
import { openNamespace, type TestNamespace } from '../support/namespace.ts';
import { blocked, gate, type Script, scripted } from '../support/script.ts';

let t: TestNamespace;
let committer: Committer;
beforeAll(async () => {
  t = await openNamespace();
  committer = new Committer(t.db, t.state);
});
afterAll(() => t.close());

/** A session that has burned a fid, and holds its transaction. */
async function burning(fid: number) {
  const session = await t.connect();
  await session.query('BEGIN');
  await session.query(
    `INSERT INTO blobs (fid, state, want, size, sha256, created) VALUES ($1, 'void', 0, 0, '', false)`,
    [fid],
  );
  return session;
}

const problem = (name: string) => expect.objectContaining({ problem: name });

describe('8: replaced versions are never leaked', () => {
  /** A replaces the file and holds its transaction; B replaces it too and waits; then A commits. */
  async function replaceTwice(key: string): Promise<{ replaced: number[]; kept: number[] }> {
    const [first, byA, byB] = [t.upload(key, '0'), t.upload(key, 'A'), t.upload(key, 'B')];
    await t.namespace.commit(first);
    const held = gate();
    const a = t.db.transaction(async (tx) => {
      await commitNow(tx, [byA]);
      await held.pass();
    });
    await held.reached;
    const b = t.namespace.commit(byB);
    await blocked(t);
    held.open();
    await Promise.all([a, b]);
    const kept = await t.sql<{ fid: string }>('SELECT fid FROM trash WHERE key = $1 ORDER BY fid', [key]);
    return { replaced: [first.fid, byA.fid], kept: kept.map(({ fid }) => Number(fid)) };
  }

  it('keeps both versions that lost the name', async () => {
    const { replaced, kept } = await replaceTwice('h8/with');
    expect(kept).toEqual(replaced);
  });

  it('would lose one if the upsert itself read the old version (no trigger)', async () => {
    await t.sql('ALTER TABLE names DISABLE TRIGGER name_updated');
    await t.sql(`CREATE FUNCTION read_old() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO trash (domain_id, key, fid, class_id, content_type, mtime, reason)
        SELECT d.domain_id, d.path || n.name, n.fid, n.class_id, n.content_type, n.mtime, 'replaced'
        FROM names n JOIN dirs d ON d.id = n.dir_id WHERE n.dir_id = NEW.dir_id AND n.name = NEW.name;
      RETURN NEW; END $$`);
    await t.sql('CREATE TRIGGER read_old BEFORE INSERT ON names FOR EACH ROW EXECUTE FUNCTION read_old()');
    try {
      const { replaced, kept } = await replaceTwice('h8/without');
      expect(kept).not.toEqual(replaced);
    } finally {
      await t.sql('DROP FUNCTION read_old CASCADE');
      await t.sql('ALTER TABLE names ENABLE TRIGGER name_updated');
    }
  });
});

describe('3 and 5: a fid is committed or burned, never both', () => {
  /** A session burns the upload's fid and holds its transaction; the commit comes meanwhile. */
  async function meetBurn(upload: Upload, commit: () => Promise<unknown>) {
    const burner = await burning(upload.fid);
    const settled = Promise.allSettled([commit()]);
    await blocked(t);
    await burner.query('COMMIT');
    return (await settled)[0];
  }

  it('refuses a commit that meets an uncommitted burn', async () => {
    const upload = t.upload('h3/late');
    const settled = await meetBurn(upload, () => t.namespace.commit(upload));
    expect(settled).toMatchObject({ status: 'rejected', reason: { problem: 'upload-void' } });
    expect(await t.namespace.find(t.domain, 'h3/late')).toBeUndefined();
  });

  it('would name what is burned, did the commit pass over a fid that is there', async () => {
    const upload = t.upload('h3-passed');
    const passOver = (text: string) =>
      text.replace(/(n\.created FROM item i JOIN named n ON n\.fid = i\.fid)/, '$1 ON CONFLICT DO NOTHING');
    const script = { alter: { 'commit-uploads': passOver } };
    const settled = await meetBurn(upload, () =>
      t.db.transaction((tx) => commitNow(scripted(tx, script), [upload])),
    );
    expect(settled).toMatchObject({ status: 'fulfilled', value: [{ outcome: 'created' }] });
    const named = 'SELECT b.state FROM names n JOIN blobs b ON b.fid = n.fid WHERE b.fid = $1';
    expect(await t.sql(named, [upload.fid])).toEqual([{ state: 'void' }]);
  });

  it('does not burn what a commit is just naming', async () => {
    const upload = t.upload('h3/early');
    const held = gate();
    const committing = t.db.transaction(async (tx) => {
      await ensureDirectory(tx, t.domain, 'h3/');
      await commitNow(tx, [upload]);
      await held.pass();
    });
    await held.reached;
    const burning = t.namespace.burn([{ fid: upload.fid, devices: upload.devices }]);
    await blocked(t);
    held.open();
    await Promise.all([committing, burning]);
    expect(await t.namespace.find(t.domain, 'h3/early')).toMatchObject({ devices: [1, 2] });
  });
});

describe('4: a lost answer, retried', () => {
  it('repeats the first answer to a commit that runs twice at the same time', async () => {
    const upload = t.upload('h4/twice', 'x', { precondition: { ifNoneMatch: '*' } });
    await t.namespace.makeDirectory(t.domain, 'h4', { parents: true, exclusive: false });
    const held = gate();
    const first = t.db.transaction(async (tx) => {
      const [result] = await commitNow(tx, [upload]);
      await held.pass();
      return result?.outcome;
    });
    await held.reached;
    const second = t.namespace.commit(upload);
    await blocked(t);
    held.open();
    expect(await first).toBe('created');
    expect(await second).toMatchObject({ created: true, entry: { fid: upload.fid } });
    expect(await t.sql('SELECT 1 FROM locations WHERE fid = $1', [upload.fid])).toHaveLength(2);
  });

  it('would be refused for its own name, were the ledger not looked at', async () => {
    const upload = t.upload('h4/own', 'x', { precondition: { ifNoneMatch: '*' } });
    await t.namespace.commit(upload);
    const again = async (script: Script) => {
      const [result] = await t.db.transaction((tx) => commitNow(scripted(tx, script), [upload]));
      return result?.outcome;
    };
    expect(await again({})).toBe('repeated-created');
    const noLedger = (text: string) => text.replace('known.fid = q.fid', 'false');
    expect(await again({ alter: { 'commit-uploads': noLedger } })).toBe('conflict');
  });

  it('would be refused for the version that it replaced, were If-Match compared before the ledger was asked', async () => {
    const old = t.upload('h4/match', 'old');
    await t.namespace.commit(old);
    const upload = t.upload('h4/match', 'new', { precondition: { ifMatch: [old.sha256] } });
    await t.namespace.commit(upload);
    expect(await t.namespace.commit(upload)).toMatchObject({ created: false, entry: { fid: upload.fid } });
    const noLedger = (text: string) => `${text} AND false`;
    const again = t.db.transaction((tx) =>
      committer.lockMatching(scripted(tx, { alter: { 'find-in-ledger': noLedger } }), upload),
    );
    await expect(again).rejects.toEqual(problem('precondition-failed'));
  });
});

describe('10: preconditions are decided inside the commit', () => {
  /** A replaces what `key` holds, or creates it, and holds its transaction; B, with a precondition, comes meanwhile. */
  async function race(key: string, { precondition, ...script }: Script & Pick<Upload, 'precondition'>) {
    const held = gate();
    const a = t.db.transaction(async (tx) => {
      await commitNow(tx, [t.upload(key, 'A')]);
      await held.pass();
    });
    await held.reached;
    const byB = t.upload(key, 'B', precondition === undefined ? {} : { precondition });
    const unprotected = async (tx: Queryable) => {
      const follows = scripted(tx, script);
      if (precondition?.ifMatch !== undefined) await committer.lockMatching(follows, byB);
      return (await commitNow(follows, [byB]))[0]?.outcome;
    };
    const b =
      Object.keys(script).length > 0 ? t.db.transaction(unprotected) : t.namespace.commit(byB).then(() => '');
    const settled = Promise.allSettled([b]);
    await blocked(t);
    held.open();
    await a;
    const [outcome] = await settled;
    return outcome.status === 'fulfilled' ? outcome.value : outcome.reason.problem;
  }

  it('compares If-Match with what is there when the lock is held, not before', async () => {
    const old = t.upload('h10', 'old');
    await t.namespace.commit(old);
    const precondition = { ifMatch: [old.sha256] };
    expect(await race('h10', { precondition })).toBe('precondition-failed');
  });

  it('would replace a version that it does not know, were the name not locked before it is compared', async () => {
    const old = t.upload('h10-unlocked', 'old');
    await t.namespace.commit(old);
    const precondition = { ifMatch: [old.sha256] };
    expect(await race('h10-unlocked', { precondition, omit: ['lock-name'] })).toBe('replaced');
  });

  it('refuses an exclusive create when the other creator commits first', async () => {
    await t.namespace.makeDirectory(t.domain, 'h10x', { parents: true, exclusive: false });
    expect(await race('h10x/new', { precondition: { ifNoneMatch: '*' } })).toBe('precondition-failed');
  });

  it('would replace what the other created, did the insert not tell exclusive uploads from others', async () => {
    const replace = (text: string) =>
      text.replace('excluded.fid <> ALL ($13::bigint[])', '$13::bigint[] IS NOT NULL');
    const alter = { 'commit-uploads': replace };
    expect(await race('h10-created', { precondition: { ifNoneMatch: '*' }, alter })).toBe('replaced');
  });
});

describe('17: batches', () => {
  /** A batch of two, in the wrong order, waits for the first name. Is the second one free meanwhile? */
  async function secondIsFree(root: string, script: Script): Promise<boolean> {
    const [a, b] = [t.upload(`${root}/a`), t.upload(`${root}/b`)];
    for (const upload of [a, b]) await t.namespace.commit(upload);
    const holder = await t.connect();
    await holder.query('BEGIN');
    await holder.query(`SELECT 1 FROM names WHERE fid = $1 FOR UPDATE`, [a.fid]);
    const batch = t.db.transaction((tx) =>
      commitNow(scripted(tx, script), [t.upload(b.key), t.upload(a.key)]),
    );
    await blocked(t);
    const { rowCount } = await holder.query(`SELECT 1 FROM names WHERE fid = $1 FOR UPDATE SKIP LOCKED`, [
      b.fid,
    ]);
    await holder.query('ROLLBACK');
    await batch;
    return rowCount === 1;
  }

  it('lock names in one order, so that crossed batches do not deadlock', async () => {
    expect(await secondIsFree('h17', {})).toBe(true);
  });

  it('would hold the second and wait for the first, were they locked as they come', async () => {
    const asTheyCome = (text: string) => text.replace('ORDER BY dir_id, name', 'ORDER BY i');
    expect(await secondIsFree('h17-crossed', { alter: { 'commit-uploads': asTheyCome } })).toBe(false);
  });

  /** Three uploads commit together; the fid of the second is burned by a session that ends only when they wait. */
  async function collide(root: string, commit: (uploads: Upload[]) => Promise<unknown>[]) {
    await t.namespace.makeDirectory(t.domain, root, { parents: true, exclusive: false });
    const uploads = ['a', 'burned', 'c'].map((name) => t.upload(`${root}/${name}`));
    const burner = await burning(uploads[1]?.fid as number);
    const settled = Promise.allSettled(commit(uploads));
    await blocked(t);
    // They share a statement: none of them is there yet.
    expect((await t.namespace.list(t.domain, root, { recursive: false, limit: 10 })).entries).toEqual([]);
    await burner.query('COMMIT');
    return (await settled).map(({ status }) => status);
  }

  it('fail one by one: a collision does not take the others with it', async () => {
    const outcomes = await collide('h17-one', (uploads) =>
      uploads.map((upload) => t.namespace.commit(upload)),
    );
    expect(outcomes).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  });

  it('would all fail, were they not tried one by one after a collision', async () => {
    const outcomes = await collide('h17-all', (uploads) => {
      const together = commitNow(t.db, uploads);
      return uploads.map((_upload, i) => together.then((results) => results[i]));
    });
    expect(outcomes).toEqual(['rejected', 'rejected', 'rejected']);
  });
});
