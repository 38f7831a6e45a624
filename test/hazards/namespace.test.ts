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
  it('refuses a commit that meets an uncommitted burn', async () => {
    const upload = t.upload('h3/late');
    const burner = await t.connect();
    await burner.query('BEGIN');
    await burner.query(
      `INSERT INTO blobs (fid, state, want, size, sha256, created) VALUES ($1, 'void', 0, 0, '', false)`,
      [upload.fid],
    );
    const committing = t.namespace.commit(upload);
    const refused = expect(committing).rejects.toEqual(problem('upload-void'));
    await blocked(t);
    await burner.query('COMMIT');
    await refused;
    expect(await t.namespace.find(t.domain, 'h3/late')).toBeUndefined();
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

  it('fail one by one: a collision does not take the others with it', async () => {
    const burned = t.upload('h17/burned');
    await t.namespace.burn([{ fid: burned.fid, devices: [] }]);
    const uploads = [t.upload('h17/c'), burned, t.upload('h17/d')];
    const settled = await Promise.allSettled(uploads.map((upload) => t.namespace.commit(upload)));
    expect(settled.map((result) => result.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  });
});
