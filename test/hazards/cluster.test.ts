// Hazards of docs/consistency.md that concern fids, domains and classes, each as a scripted interleaving of two
// sessions. Beside each stands the same interleaving with the protection taken away.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { removeClass } from '../../tracker/cluster/classes.ts';
import { createDomain, dropDomain, dropDomainIn } from '../../tracker/cluster/domains.ts';
import { allocateBlock } from '../../tracker/cluster/fids.ts';
import type { Queryable } from '../../tracker/database/database.ts';
import { commitNow } from '../../tracker/namespace/commit.ts';
import { openNamespace, type TestNamespace } from '../support/namespace.ts';
import { blocked, endedOrBlocked, gate, type Script, scripted } from '../support/script.ts';

let t: TestNamespace;
beforeAll(async () => {
  t = await openNamespace();
});
afterAll(() => t.close());

const problem = (name: string) => expect.objectContaining({ problem: name });

describe('1: two trackers that need fids at the same time', () => {
  /** A has allocated and holds its transaction; B begins; then A commits. */
  async function allocateTwice(alter: (tx: Queryable) => Queryable): Promise<{ a: number; b: number }> {
    const held = gate();
    const a = t.db.transaction(async (tx) => {
      const block = await allocateBlock(tx);
      await held.pass();
      return block.next;
    });
    await held.reached;
    const b = t.db.transaction(async (tx) => (await allocateBlock(alter(tx))).next);
    await blocked(t);
    held.open();
    return { a: await a, b: await b };
  }

  it('get different blocks', async () => {
    const { a, b } = await allocateTwice((tx) => tx);
    expect(b).toBe(a + 1_000);
  });

  it('would get the same one, were the counter read without its lock', async () => {
    const unlocked = (text: string) => text.replace('FOR UPDATE', '');
    const alter = { 'lock-fid-counter': unlocked };
    const { a, b } = await allocateTwice((tx) => scripted(tx, { alter }));
    expect(b).toBe(a);
  });
});

describe('9: an empty domain is deleted while a file is uploaded into it', () => {
  async function emptyDomain(name: string) {
    await createDomain(t.db, name, 30);
    const domain = await t.state.domain(name);
    return { domain, class: t.state.classFor(domain, 'a') };
  }

  it('stays, when the upload came first', async () => {
    const place = await emptyDomain('first');
    const held = gate();
    const upload = t.db.transaction(async (tx) => {
      const [result] = await commitNow(tx, [t.upload('a', 'a', place)]);
      await held.pass();
      return result?.outcome;
    });
    await held.reached;
    const dropped = expect(dropDomain(t.db, place.domain, false)).rejects.toEqual(
      problem('directory-not-empty'),
    );
    await blocked(t);
    held.open();
    expect(await upload).toBe('created');
    await dropped;
    expect(await t.namespace.find(place.domain, 'a')).toBeDefined();
  });

  /** The deletion has looked and holds its transaction; the upload begins; then the deletion commits. */
  async function uploadTooLate(name: string, script: Script) {
    const place = await emptyDomain(name);
    const held = gate();
    const dropping = t.db.transaction((tx) => {
      const before = { 'drop-domain': () => held.pass() };
      return dropDomainIn(scripted(tx, { before, ...script }), place.domain, false);
    });
    await held.reached;
    const upload = t.namespace.commit(t.upload('a', 'a', place));
    const settled = Promise.allSettled([upload]);
    // With the protection, the upload waits for the directory's row; without, it waits for nothing.
    await (script.omit === undefined ? blocked(t) : settled);
    held.open();
    await dropping;
    const [outcome] = await settled;
    return outcome;
  }

  it('takes no upload any more, when the deletion came first', async () => {
    const outcome = await uploadTooLate('late', {});
    expect(outcome).toEqual({ status: 'rejected', reason: problem('domain-not-found') });
  });

  it('would lose the acknowledged upload, were its root not deleted with it', async () => {
    // The root's row is neither locked nor deleted: it would be detached and purged later.
    const outcome = await uploadTooLate('lost', { omit: ['lock-root', 'delete-root'] });
    expect(outcome?.status).toBe('fulfilled');
    expect(await t.sql(`SELECT FROM domains WHERE name = 'lost' AND dropped IS NULL`)).toEqual([]);
  });
});

describe('a class is deleted while a file of it is uploaded', () => {
  /** The upload holds its transaction; the class is deleted; then the upload commits. */
  async function deleteMeanwhile(name: string) {
    await t.sql(`INSERT INTO classes (domain_id, name) VALUES ($1, $2)`, [t.domain.id, name]);
    await t.state.refresh();
    const held = gate();
    const upload = t.db.transaction(async (tx) => {
      await commitNow(tx, [t.upload(name, 'x', { class: t.state.classFor(t.domain, name, name) })]);
      await held.pass();
    });
    await held.reached;
    const removed = Promise.allSettled([removeClass(t.db, t.domain, name)]);
    await endedOrBlocked(t, removed);
    held.open();
    await upload;
    return (await removed)[0];
  }

  it('stays: the foreign key has the deletion look again', async () => {
    const removed = await deleteMeanwhile('fading');
    expect(removed).toEqual({ status: 'rejected', reason: problem('state-conflict') });
  });

  it('would leave a file without its class, were there no foreign key', async () => {
    const [constraint] = await t.sql<{ conname: string }>(
      `SELECT conname FROM pg_constraint WHERE conrelid = 'names'::regclass AND contype = 'f'
        AND confrelid = 'classes'::regclass`,
    );
    await t.sql(`ALTER TABLE names DROP CONSTRAINT ${constraint?.conname}`);
    const removed = await deleteMeanwhile('lost-class');
    expect(removed?.status).toBe('fulfilled');
    const orphans = await t.sql(
      'SELECT FROM names n WHERE n.fid IS NOT NULL AND NOT EXISTS (SELECT FROM classes c WHERE c.id = n.class_id)',
    );
    expect(orphans).toHaveLength(1);
  });
});
