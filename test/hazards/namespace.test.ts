// The hazards of docs/consistency.md that concern names, each as a scripted interleaving of two sessions. Beside each
// stands the same interleaving with the protection taken away, to show that it is the dangerous one.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { commitNow } from '../../tracker/namespace/commit.ts';
import {
  ensureDirectory,
  findDirectory,
  lockDomain,
  removeEmpty,
} from '../../tracker/namespace/directories.ts';
import { moveDirectory } from '../../tracker/namespace/relocate.ts';
import { openNamespace, type TestNamespace } from '../support/namespace.ts';
import { blocked, gate, type Script, scripted } from '../support/script.ts';

let t: TestNamespace;
beforeAll(async () => {
  t = await openNamespace();
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

describe('9: directories stay a tree, and names stay in directories', () => {
  it('does not remove a directory that an upload is just entering', async () => {
    await t.namespace.makeDirectory(t.domain, 'h9/a', { parents: true, exclusive: false });
    const held = gate();
    const uploading = t.db.transaction(async (tx) => {
      await commitNow(tx, [t.upload('h9/a/new')]);
      await held.pass();
    });
    await held.reached;
    const removing = t.namespace.removeDirectory(t.domain, 'h9/a', false);
    await blocked(t);
    held.open();
    await uploading;
    await expect(removing).rejects.toEqual(problem('directory-not-empty'));
    expect(await t.namespace.find(t.domain, 'h9/a/new')).toBeDefined();
  });

  it('uploads into a directory that is just being removed by making it again', async () => {
    await t.namespace.makeDirectory(t.domain, 'h9/b', { parents: true, exclusive: false });
    const held = gate();
    const removing = t.db.transaction(async (tx) => {
      await lockDomain(tx, t.domain);
      await removeEmpty(tx, (await findDirectory(tx, t.domain, 'h9/b/')) as number, 'h9/b');
      await held.pass();
    });
    await held.reached;
    const uploading = t.namespace.commit(t.upload('h9/b/new'));
    await blocked(t);
    held.open();
    await removing;
    expect(await uploading).toMatchObject({ created: true });
    expect(await t.namespace.find(t.domain, 'h9/b/new')).toBeDefined();
  });

  it('would lose the upload without the foreign key that ties a name to its directory', async () => {
    const [constraint] = await t.sql<{ conname: string }>(
      `SELECT conname FROM pg_constraint WHERE conrelid = 'names'::regclass AND conkey = ARRAY[1::smallint]
        AND contype = 'f'`,
    );
    await t.namespace.makeDirectory(t.domain, 'h9/c', { parents: true, exclusive: false });
    await t.sql(`ALTER TABLE names DROP CONSTRAINT ${constraint?.conname}`);
    try {
      const held = gate();
      const removing = t.db.transaction(async (tx) => {
        await removeEmpty(tx, (await findDirectory(tx, t.domain, 'h9/c/')) as number, 'h9/c');
        await held.pass();
      });
      await held.reached;
      await t.namespace.commit(t.upload('h9/c/new'));
      held.open();
      await removing;
      expect(await t.namespace.find(t.domain, 'h9/c/new')).toBeUndefined();
    } finally {
      await t.sql('DELETE FROM names n WHERE NOT EXISTS (SELECT FROM dirs d WHERE d.id = n.dir_id)');
      await t.sql('ALTER TABLE names ADD FOREIGN KEY (dir_id) REFERENCES dirs');
    }
  });

  /**
   * Two moves that would each put the other's directory below its own. The lock on the domain makes the second wait
   * before it looks; without it, only the foreign keys are between them, and PostgreSQL's deadlock detection.
   */
  async function crossMoves(root: string) {
    for (const name of ['x', 'y']) {
      await t.namespace.makeDirectory(t.domain, `${root}/${name}`, { parents: true, exclusive: false });
    }
    const held = gate();
    let runs = 0;
    const move = (from: string, to: string, more: Script) =>
      t.db.transaction((tx) => {
        runs += 1;
        return moveDirectory(scripted(tx, more), t.state, { domain: t.domain, from, to });
      });
    const first = move(`${root}/x`, `${root}/y/x`, { before: { 'rename-child': held.pass } });
    await held.reached;
    const second = move(`${root}/y`, `${root}/x/y`, {});
    await blocked(t);
    held.open();
    const settled = await Promise.allSettled([first, second]);
    return { settled, runs };
  }

  const reachable = async (root: string) =>
    (await t.namespace.list(t.domain, root, { recursive: true, limit: 100 })).entries.length;

  it('runs two moves that would make a circle one after the other', async () => {
    const { settled, runs } = await crossMoves('h9/moves');
    expect(runs).toBe(2);
    expect(settled.map((result) => result.status)).toEqual(['fulfilled', 'fulfilled']);
    // The second made a new 'x' to move 'y' to, with the first 'x' in it: nothing is out of reach.
    const { entries } = await t.namespace.list(t.domain, 'h9/moves', { recursive: true, limit: 100 });
    expect(entries.map((entry) => entry.key)).toEqual(['x', 'x/y', 'x/y/x'].map((key) => `h9/moves/${key}`));
  });

  it('makes one directory when two uploads need it at once', async () => {
    const held = gate();
    const first = t.db.transaction(async (tx) => {
      const made = await ensureDirectory(tx, t.domain, 'h9/same/dir/');
      await held.pass();
      return made;
    });
    await held.reached;
    const second = t.namespace.commit(t.upload('h9/same/dir/file'));
    await blocked(t);
    held.open();
    expect((await first).created).toBe(true);
    expect((await second).created).toBe(true);
    expect(await reachable('h9/same')).toBe(2);
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
});

describe('10: preconditions are decided inside the commit', () => {
  it('compares If-Match with what is there when the lock is held, not before', async () => {
    const [old, byA] = [t.upload('h10', 'old'), t.upload('h10', 'A')];
    await t.namespace.commit(old);
    const held = gate();
    const a = t.db.transaction(async (tx) => {
      await commitNow(tx, [byA]);
      await held.pass();
    });
    await held.reached;
    const b = t.namespace.commit(t.upload('h10', 'B', { precondition: { ifMatch: [old.sha256] } }));
    const refused = expect(b).rejects.toEqual(problem('precondition-failed'));
    await blocked(t);
    held.open();
    await a;
    await refused;
  });

  it('refuses an exclusive create when the other creator commits first', async () => {
    const held = gate();
    await t.namespace.makeDirectory(t.domain, 'h10x', { parents: true, exclusive: false });
    const a = t.db.transaction(async (tx) => {
      await commitNow(tx, [t.upload('h10x/new', 'A')]);
      await held.pass();
    });
    await held.reached;
    const b = t.namespace.commit(t.upload('h10x/new', 'B', { precondition: { ifNoneMatch: '*' } }));
    const refused = expect(b).rejects.toEqual(problem('precondition-failed'));
    await blocked(t);
    held.open();
    await a;
    await refused;
  });
});

describe('17: batches', () => {
  it('lock names in one order, so that crossed batches do not deadlock', async () => {
    const [a, b] = [t.upload('h17/a'), t.upload('h17/b')];
    for (const upload of [a, b]) await t.namespace.commit(upload);
    const holder = await t.connect();
    await holder.query('BEGIN');
    await holder.query(`SELECT 1 FROM names WHERE fid = $1 FOR UPDATE`, [a.fid]);
    const batch = t.db.transaction((tx) => commitNow(tx, [t.upload('h17/b'), t.upload('h17/a')]));
    await blocked(t);
    // The batch waits for 'a' and holds nothing yet: 'b', which comes later, is still free.
    await holder.query(`SELECT 1 FROM names WHERE fid = $1 FOR UPDATE NOWAIT`, [b.fid]);
    await holder.query('ROLLBACK');
    await batch;
  });

  it('fail one by one: a collision does not take the others with it', async () => {
    const burned = t.upload('h17/burned');
    await t.namespace.burn([{ fid: burned.fid, devices: [] }]);
    const uploads = [t.upload('h17/c'), burned, t.upload('h17/d')];
    const settled = await Promise.allSettled(uploads.map((upload) => t.namespace.commit(upload)));
    expect(settled.map((result) => result.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  });
});
