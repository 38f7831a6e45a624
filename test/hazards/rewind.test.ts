// The hazards of a rewind, as scripted interleavings with what else goes on in its domain. Beside each stands the same
// interleaving with the protection taken away, to show that it is the dangerous one.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { commitNow } from '../../tracker/namespace/commit.ts';
import { detachTree, findDirectory, lockDomain } from '../../tracker/namespace/directories.ts';
import { inDomain } from '../../tracker/namespace/enter.ts';
import { purgeDetached } from '../../tracker/namespace/purge.ts';
import { moveDirectory } from '../../tracker/namespace/relocate.ts';
import { type RewindAnswer, rewindIn } from '../../tracker/namespace/rewind.ts';
import { letGo, lockBlobs, reap } from '../../tracker/replication/reaper.ts';
import { openNamespace, type TestNamespace } from '../support/namespace.ts';
import { blocked, gate, type Script, scripted } from '../support/script.ts';

let t: TestNamespace;
beforeAll(async () => {
  t = await openNamespace();
  await t.sql(
    `INSERT INTO classes (domain_id, name, prefixes, trash) SELECT id, 'thumbs', '{thumbs/}', false FROM domains`,
  );
  await t.state.refresh();
});
afterAll(() => t.close());
beforeEach(() => t.namespace.removeDirectory(t.domain, '', true));

// The last one locks the domain's row in passing.
const NO_LOCKS = ['rewind-take-domain', 'lock-domain', 'rewind-count'];

async function now(): Promise<string> {
  const text = `SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS now`;
  return (await t.sql<{ now: string }>(text))[0]?.now as string;
}
const files = async () => {
  const { entries } = await t.namespace.list(t.domain, '', { recursive: true, limit: 100 });
  return entries.filter(({ kind }) => kind === 'file').map(({ key }) => key);
};
const put = (...keys: string[]) => Promise.all(keys.map((key) => t.namespace.commit(t.upload(key))));

/** Rewinds by a script. */
const rewind = (to: string, script: Script = {}) =>
  t.db.transaction(async (tx) => {
    const answer = await rewindIn(scripted(tx, script), t.domain, { to, dryRun: false, limit: 100 });
    return answer.body as RewindAnswer;
  });

/** Rewinds, and stops before `statement`; `end` lets it go on. */
async function rewindHeldAt(statement: string, to: string, omit: string[] = []) {
  const held = gate();
  const rewinding = rewind(to, { before: { [statement]: held.pass }, omit });
  await Promise.race([held.reached, rewinding]);
  const end = () => {
    held.open();
    return rewinding;
  };
  return { end };
}

describe('an upload that is being committed', () => {
  /** It is written, but its transaction has not ended. */
  async function commitUnderWay() {
    await put('dir/old');
    const to = await now();
    const held = gate();
    const committing = inDomain(t.db, t.domain, async (tx) => {
      await commitNow(tx, [t.upload('dir/new')]);
      await held.pass();
    });
    await held.reached;
    const end = () => {
      held.open();
      return committing;
    };
    return { to, end };
  }

  it('is waited for, and goes to the trash', async () => {
    const { to, end } = await commitUnderWay();
    const rewinding = rewind(to);
    await blocked(t);
    await end();
    expect(await rewinding).toMatchObject({ removed: 1 });
    expect(await files()).toEqual(['dir/old']);
  });

  it('would stay, were the domain not taken', async () => {
    const { to, end } = await commitUnderWay();
    await rewind(to, { omit: NO_LOCKS });
    await end();
    expect(await files()).toEqual(['dir/new', 'dir/old']);
  });
});

describe('an upload that looked its directory up before the rewind, and is committed after it', () => {
  const bodyOf = `SELECT pg_get_functiondef('enter_domain(integer, integer)'::regprocedure) AS body`;

  /** 'b' was 'a' at the time of the rewind. The commit has taken its snapshot when the rewind begins. */
  async function commitAround(change: (body: string) => string): Promise<string[]> {
    await put('a/old');
    const to = await now();
    await t.namespace.relocate('move', { domain: t.domain, from: 'a', to: 'b' });
    const [{ body }] = (await t.sql<{ body: string }>(bodyOf)) as [{ body: string }];
    const stop = await t.connect();
    await stop.query('SELECT pg_advisory_lock(4711)');
    await t.sql(change(body.replace('BEGIN', 'BEGIN PERFORM pg_advisory_xact_lock_shared(4711);')));
    try {
      const committing = t.namespace.commit(t.upload('b/new'));
      await blocked(t);
      await rewind(to);
      await stop.query('SELECT pg_advisory_unlock(4711)');
      await committing;
      return await files();
    } finally {
      await stop.end();
      await t.sql(body);
    }
  }

  it('is committed anew, and gets the key that it was acknowledged with', async () => {
    expect(await commitAround((body) => body)).toEqual(['a/old', 'b/new']);
  });

  it('would get another key, did it not compare how often the domain was rewound', async () => {
    expect(await commitAround((body) => body.replace('m.rewound = seen', 'true'))).toEqual([
      'a/new',
      'a/old',
    ]);
  });
});

describe('writes and readers while a rewind is under way', () => {
  it('readers see the names of before, writes wait for the end', async () => {
    await put('dir/old');
    const to = await now();
    await t.namespace.remove(t.domain, 'dir/old');
    const { end } = await rewindHeldAt('rewind-record', to);
    const writing = put('dir/new');
    const removing = t.namespace.remove(t.domain, 'dir/old');
    expect(await files()).toEqual([]);
    await end();
    await Promise.all([writing, removing]);
    expect(await files()).toEqual(['dir/new']);
  });

  it('a write that has waited for eight seconds is refused, and nothing of it is done', async () => {
    await put('dir/old');
    const { end } = await rewindHeldAt('rewind-record', await now());
    const busy = expect.objectContaining({ problem: 'domain-busy', status: 503 });
    const writes = [put('dir/new'), t.namespace.remove(t.domain, 'dir/old')];
    const refused = { status: 'rejected', reason: busy };
    expect(await Promise.allSettled(writes)).toEqual([refused, refused]);
    await end();
    expect(await files()).toEqual(['dir/old']);
  }, 60_000);
});

describe('a directory that is being moved', () => {
  async function moveUnderWay() {
    await put('a/file');
    const to = await now();
    const held = gate();
    const moving = inDomain(t.db, t.domain, async (tx) => {
      await moveDirectory(tx, t.state, { domain: t.domain, from: 'a', to: 'b' });
      await held.pass();
    });
    await held.reached;
    const end = () => {
      held.open();
      return moving;
    };
    return { to, end };
  }

  it('is waited for, and moved back', async () => {
    const { to, end } = await moveUnderWay();
    const rewinding = rewind(to);
    await blocked(t);
    await end();
    expect(await rewinding).toMatchObject({ directoriesMoved: 1 });
    expect(await files()).toEqual(['a/file']);
  });

  it('would stay where it was moved, were the domain not taken', async () => {
    const { to, end } = await moveUnderWay();
    await rewind(to, { omit: NO_LOCKS });
    await end();
    expect(await files()).toEqual(['b/file']);
  });
});

describe('two moves whose transactions began in the other order than they got the domain', () => {
  /** 'x/y' is moved out by the second, and then 'x' into it by the first. Answers with a time between their beginnings. */
  async function crossed(omit: string[]): Promise<string> {
    await put('x/y/file');
    const held = gate();
    const first = t.db.transaction(async (tx) => {
      await tx.query({ name: 'begin', text: 'SELECT 1' });
      await held.pass();
      await moveDirectory(scripted(tx, { omit }), t.state, { domain: t.domain, from: 'x', to: 'y/x' });
    });
    await held.reached;
    const between = await now();
    await t.namespace.relocate('move', { domain: t.domain, from: 'x/y', to: 'y' });
    held.open();
    await first;
    expect(await files()).toEqual(['y/file']);
    return between;
  }

  it('are undone in the order in which they happened', async () => {
    await rewind(await crossed([]));
    expect(await files()).toEqual(['x/y/file']);
  });

  it('would be a circle out of reach, did the lock not set the time', async () => {
    await rewind(await crossed(['lock-domain']));
    expect(await files()).toEqual([]);
  });
});

describe('a version that is being reaped', () => {
  let fid: number;
  /** Of a class without trash: deleted, and only the queue of the reaper knows it. */
  async function deleted(): Promise<string> {
    const upload = t.upload('thumbs/x', `${Math.random()}`);
    fid = upload.fid;
    await t.namespace.commit(upload);
    const to = await now();
    await t.namespace.remove(t.domain, 'thumbs/x');
    return to;
  }
  const stateOf = async () =>
    (await t.sql<{ state: string }>('SELECT state FROM blobs WHERE fid = $1', [fid]))[0]?.state;

  it('is kept from the reaper by the rewind that names it', async () => {
    const { end } = await rewindHeldAt('rewind-name-files', await deleted());
    const reaping = reap(t.db, 0);
    await blocked(t);
    await end();
    await reaping;
    expect(await stateOf()).toBe('live');
    expect(await files()).toEqual(['thumbs/x']);
  });

  it('would be named without its bytes, were the blob not shared', async () => {
    const { end } = await rewindHeldAt('rewind-name-files', await deleted(), ['rewind-share-blobs']);
    await reap(t.db, 0);
    await end();
    expect(await stateOf()).toBe('gone');
    expect(await files()).toEqual(['thumbs/x']);
  });

  /** The reaper has let go of it and is about to commit. */
  async function reapedUnderWay() {
    const to = await deleted();
    const reaper = await t.connect();
    await reaper.query('BEGIN');
    await reaper.query(lockBlobs.text, [[fid]]);
    await reaper.query(letGo.text, [[fid]]);
    return { to, reaper };
  }

  it('counts as lost when the reaper was first, and what came later at its key goes too', async () => {
    const { to, reaper } = await reapedUnderWay();
    await put('thumbs/x');
    const rewinding = rewind(to);
    await blocked(t);
    await reaper.query('COMMIT');
    expect(await rewinding).toMatchObject({ restored: 0 });
    expect(await files()).toEqual([]);
  });

  it('would be named without its bytes, were it not looked at again', async () => {
    const { to, reaper } = await reapedUnderWay();
    const rewinding = rewind(to, { omit: ['rewind-mark-lost'] });
    await blocked(t);
    await reaper.query('COMMIT');
    await rewinding;
    expect(await stateOf()).toBe('gone');
    expect(await files()).toEqual(['thumbs/x']);
  });
});

describe('a version that is being given up from the trash', () => {
  it('comes back, with its bytes', async () => {
    const { entry } = await t.namespace.commit(t.upload('x'));
    const to = await now();
    await t.namespace.remove(t.domain, 'x');
    const other = await t.connect();
    await other.query('BEGIN');
    await other.query(`DELETE FROM trash WHERE fid = ${entry.fid}`);
    const rewinding = rewind(to);
    await blocked(t);
    await other.query('COMMIT');
    await rewinding;
    await reap(t.db, 0);
    expect(await t.namespace.find(t.domain, 'x')).toMatchObject({ fid: entry.fid, devices: [1, 2] });
    expect(await t.sql('SELECT FROM trash WHERE fid = $1', [entry.fid])).toEqual([]);
  });
});

describe('the purge of a tree that was removed', () => {
  async function removed(): Promise<string> {
    await put('tree/1', 'tree/sub/2');
    const to = await now();
    await inDomain(t.db, t.domain, async (tx) => {
      await lockDomain(tx, t.domain);
      await detachTree(tx, t.domain, (await findDirectory(tx, t.domain, 'tree/')) as number, 'tree/');
    });
    return to;
  }

  it('leaves the domain alone while a rewind puts the tree back', async () => {
    const { end } = await rewindHeldAt('rewind-record', await removed());
    expect(await purgeDetached(t.db, 100)).toBe(0);
    await end();
    expect(await files()).toEqual(['tree/1', 'tree/sub/2']);
  });

  it('would empty it, did it not enter the domain', async () => {
    const { end } = await rewindHeldAt('rewind-record', await removed());
    await t.sql(`DELETE FROM names WHERE (dir_id, name) IN (SELECT n.dir_id, n.name FROM dirs d JOIN names n ON n.dir_id = d.id
      WHERE d.path >= '/' AND d.path < '0')`);
    await end();
    expect(await files()).toEqual([]);
  });
});

describe('a second rewind at the same time', () => {
  /** The first, to before 'x', has done its work. The second is to a time when 'x' was there. */
  async function firstUnderWay() {
    const before = await now();
    await put('x');
    const after = await now();
    return { after, ...(await rewindHeldAt('rewind-record', before)) };
  }

  it('comes after the first, and finds what that left', async () => {
    const { after, end } = await firstUnderWay();
    const second = rewind(after);
    await blocked(t);
    await end();
    expect(await second).toMatchObject({ restored: 1 });
    expect(await files()).toEqual(['x']);
  });

  it('would do nothing, and the first would have the last word, were the domain not taken', async () => {
    const { after, end } = await firstUnderWay();
    expect(await rewind(after, { omit: NO_LOCKS })).toMatchObject({ restored: 0 });
    await end();
    expect(await files()).toEqual([]);
  });
});
