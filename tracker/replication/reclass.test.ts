// Files follow the prefixes of their domain's classes, on a real PostgreSQL.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openNamespace, type TestNamespace } from '../../test/support/namespace.ts';
import { putClass, removeClass } from '../cluster/classes.ts';
import { reclassSome } from './reclass.ts';
import { scan } from './scan.ts';

let ns: TestNamespace;
beforeAll(async () => {
  ns = await openNamespace();
});
afterAll(() => ns.close());
beforeEach(async () => {
  await ns.sql('TRUNCATE reclass, repair, locations, names, trash, reap, blobs, history CASCADE');
  await ns.sql(`DELETE FROM classes WHERE name <> 'default'`);
  await ns.state.refresh();
});

async function set(name: string, change: Parameters<typeof putClass>[3]): Promise<void> {
  await putClass(ns.db, ns.domain, name, change);
  await ns.state.refresh();
}
async function reclassAll(): Promise<void> {
  while (await reclassSome(ns.db));
}
const commit = (key: string, more = {}) => ns.namespace.commit(ns.upload(key, key, more));
/** 'key: class' of each file. */
const classes = async () =>
  (
    await ns.sql<{ line: string }>(
      `SELECT d.path || n.name || ': ' || c.name AS line FROM names n JOIN dirs d ON d.id = n.dir_id
        JOIN classes c ON c.id = n.class_id ORDER BY d.path, n.name`,
    )
  ).map(({ line }) => line);

describe('a class whose prefixes are changed', () => {
  it('gets the files that its keys choose now, and gives up the others', async () => {
    await set('thumbs', { prefixes: ['thumbs/'] });
    for (const key of ['styles/a', 'styles/deep/b', 'thumbs/c', 'top']) await commit(key);
    await set('thumbs', { prefixes: ['styles/', 'to'] });
    await reclassAll();
    expect(await classes()).toEqual([
      'top: thumbs',
      'styles/a: thumbs',
      'styles/deep/b: thumbs',
      'thumbs/c: default',
    ]);
    expect(await ns.sql('SELECT FROM reclass')).toEqual([]);
  });

  it('leaves alone what was given its class by name, and other domains', async () => {
    await set('named', {});
    const named = ns.state.classFor(ns.domain, '', 'named');
    await commit('styles/a', { class: named });
    await commit('styles/b');
    await set('thumbs', { prefixes: ['styles/'] });
    await reclassAll();
    expect(await classes()).toEqual(['styles/a: named', 'styles/b: thumbs']);
  });

  it('has its copies counted by the scan that follows', async () => {
    await commit('styles/a');
    await ns.sql('UPDATE cluster SET scanned = now()');
    await set('three', { copies: 3, prefixes: ['styles/'] });
    await reclassAll();
    expect(await ns.sql(`SELECT FROM cluster WHERE scanned = '-infinity'`)).toHaveLength(1);
    const answer = await scan(ns.db, { after: 0, limit: 100, readable: [1, 2, 3], zones: 1 });
    expect(answer.queued).toBe(1);
    expect(await ns.sql('SELECT want FROM blobs')).toEqual([{ want: 3 }]);
  });

  it('does several changes in their order, also when a class is gone before its turn', async () => {
    await commit('a/1');
    await set('one', { prefixes: ['a/'] });
    await set('one', { prefixes: [] });
    await set('two', { prefixes: ['a/'] });
    await removeClass(ns.db, ns.domain, 'one');
    await ns.state.refresh();
    await reclassAll();
    expect(await classes()).toEqual(['a/1: two']);
  });

  it('comes through more names and directories than one page has', async () => {
    const [root] = await ns.sql<{ id: string; class_id: number }>(
      `SELECT d.id, c.id AS class_id FROM dirs d JOIN classes c ON c.domain_id = d.domain_id WHERE d.path = ''`,
    );
    await ns.sql(
      `WITH made AS (INSERT INTO dirs (domain_id, path) SELECT $1, 'd' || n || '/' FROM generate_series(1, 120) n RETURNING id)
       SELECT count(*) FROM made`,
      [ns.domain.id],
    );
    await ns.sql(
      `INSERT INTO blobs (fid, state, want, size, sha256, created) SELECT n, 'live', 2, 1, '', true FROM generate_series(1, 2500) n`,
    );
    await ns.sql(
      `INSERT INTO names (dir_id, name, fid, class_id, content_type)
       SELECT CASE WHEN n > 2000 THEN (SELECT id FROM dirs WHERE path = 'd' || (n % 120 + 1) || '/') ELSE $1 END,
         'f' || n, n, $2, 'text/plain' FROM generate_series(1, 2500) n`,
      [root?.id, root?.class_id],
    );
    await set('all', { prefixes: ['f', 'd'] });
    await reclassAll();
    const left = await ns.sql(
      `SELECT c.name, count(*)::int FROM names n JOIN classes c ON c.id = n.class_id GROUP BY 1`,
    );
    expect(left).toEqual([{ name: 'all', count: 2500 }]);
    await ns.sql('DELETE FROM names');
    await ns.sql(`DELETE FROM dirs WHERE path <> ''`);
  });
});
