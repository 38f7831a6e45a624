// The hazards of docs/consistency.md that concern directories, each as a scripted interleaving of two sessions. Beside
// each stands the same interleaving with the protection taken away.
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
   * Two moves that would each put the other's directory below its own. The first has looked and is about to write; the
   * lock on the domain makes the second wait before it looks.
   */
  async function crossMoves(root: string, script: Script = {}) {
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
    const first = move(`${root}/x`, `${root}/y/x`, { before: { 'rename-child': held.pass }, ...script });
    await held.reached;
    const second = move(`${root}/y`, `${root}/x/y`, {});
    // Without the lock, the second waits for nothing.
    await (script.omit === undefined ? blocked(t) : second);
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

  it('would make a circle that nothing reaches, were the domain not locked', async () => {
    const { settled } = await crossMoves('h9/circle', { omit: ['lock-domain'] });
    expect(settled.map((result) => result.status)).toEqual(['fulfilled', 'fulfilled']);
    expect((await t.namespace.list(t.domain, 'h9/circle', { recursive: false, limit: 100 })).entries).toEqual(
      [],
    );
    const circle = await t.sql<{ name: string }>(
      'SELECT a.name FROM names a JOIN names b ON b.dir_id = a.child_id AND b.child_id = a.dir_id ORDER BY a.name',
    );
    expect(circle.map(({ name }) => name)).toEqual(['x', 'y']);
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
