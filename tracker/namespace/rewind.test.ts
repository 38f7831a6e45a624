// Rewinds, on a real PostgreSQL: whatever was done to a tree, it can be made what it was at any time, and back.
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Problem } from '../../services/problems.ts';
import { openNamespace, type TestNamespace } from '../../test/support/namespace.ts';
import { gate } from '../../test/support/script.ts';
import { commitNow } from './commit.ts';
import { detachTree, findDirectory, lockDomain, pathOfDirectory } from './directories.ts';
import { inDomain } from './enter.ts';
import { purgeDetached } from './purge.ts';
import type { RewindAnswer } from './rewind.ts';
import { entryOf } from './types.ts';

let t: TestNamespace;
beforeAll(async () => {
  t = await openNamespace();
});
afterAll(() => t.close());

const clock = async () =>
  (
    await t.sql<{ now: string }>(
      `SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS now`,
    )
  )[0]?.now as string;

/** All that clients can see of the domain. */
async function listing(): Promise<object[]> {
  const { entries } = await t.namespace.list(t.domain, '', { recursive: true, limit: 1000 });
  return entries.map((entry) => entryOf(entry));
}

async function rewind(to: string | undefined, dryRun = false): Promise<RewindAnswer> {
  const { body } = await t.namespace.rewind(t.domain, { to, dryRun, limit: 1000 });
  return body as RewindAnswer;
}

type Op =
  | { op: 'put' | 'remove' | 'patch' | 'mkdir' | 'rmdir' | 'rm -r' | 'detach'; key: string; n: number }
  | { op: 'move' | 'copy'; key: string; to: string }
  | { op: 'restore' | 'purge' | 'rewind' | 'give up'; n: number };

const key = fc
  .array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 3 })
  .map((segments) => segments.join('/'));
const n = fc.nat(50);
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ op: fc.constant('put' as const), key, n }) },
  {
    weight: 4,
    arbitrary: fc.record({ op: fc.constantFrom('move' as const, 'copy' as const), key, to: key }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constantFrom(...(['remove', 'patch', 'mkdir', 'rmdir', 'rm -r', 'detach'] as const)),
      key: fc.oneof({ weight: 9, arbitrary: key }, { weight: 1, arbitrary: fc.constant('') }),
      n,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constantFrom(...(['restore', 'purge', 'rewind'] as const)),
      n,
    }),
  },
);

/** Does it, or is refused: both are fine. */
async function perform(op: Op, times: string[]): Promise<void> {
  const { namespace, domain } = t;
  try {
    switch (op.op) {
      case 'put':
        await namespace.commit(t.upload(op.key, `${op.n}`, { meta: { n: op.n } }));
        break;
      case 'remove':
        await namespace.remove(domain, op.key);
        break;
      case 'patch':
        await namespace.patch(domain, op.key, {
          contentType: `text/x-${op.n}`,
          mtime: new Date(op.n * 1000),
        });
        break;
      case 'mkdir':
        await namespace.makeDirectory(domain, op.key, { parents: true, exclusive: false });
        break;
      case 'rmdir':
      case 'rm -r':
        await namespace.removeDirectory(domain, op.key, op.op === 'rm -r');
        break;
      case 'detach':
        // As 'rm -r' of a large tree, whose purge has not begun.
        await inDomain(t.db, domain, async (tx) => {
          await lockDomain(tx, domain);
          const path = pathOfDirectory(op.key);
          const id = await findDirectory(tx, domain, path);
          if (id !== undefined) await detachTree(tx, domain, id, path);
        });
        break;
      case 'purge':
        await purgeDetached(t.db, 1 + (op.n % 3));
        break;
      case 'move':
      case 'copy':
        await namespace.relocate(op.op, { domain, from: op.key, to: op.to });
        break;
      case 'restore': {
        const { versions } = await namespace.listTrash(domain, { prefix: '', limit: 50 });
        const version = versions[op.n % Math.max(versions.length, 1)];
        if (version !== undefined) await namespace.restore(domain, version.id, {});
        break;
      }
      case 'rewind':
        await rewind(times[op.n % times.length]);
    }
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
  }
}

it('makes a tree exactly what it was at any time, and can be undone, whatever was done to it', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(op, { minLength: 3, maxLength: 25 }),
      fc.array(fc.nat(), { minLength: 2, maxLength: 4 }),
      async (ops, picks) => {
        const moments = [{ time: await clock(), seen: await listing() }];
        for (const op of ops) {
          await perform(
            op,
            moments.map(({ time }) => time),
          );
          moments.push({ time: await clock(), seen: await listing() });
        }
        for (const pick of picks) {
          const before = await listing();
          const { time, seen } = moments[pick % moments.length] as (typeof moments)[number];
          const planned = await rewind(time, true);
          expect(await listing()).toEqual(before);
          const done = await rewind(time);
          expect(await listing()).toEqual(seen);
          expect({ ...done, at: '' }).toEqual({ ...planned, at: '' });
          const nothing = { changes: [], removed: 0, restored: 0, replaced: 0, directoriesMoved: 0 };
          expect(await rewind(time, true)).toMatchObject(nothing);
          await rewind(undefined);
          expect(await listing()).toEqual(before);
          await expectSound();
        }
      },
    ),
    { numRuns: 15, endOnFailure: false },
  );
}, 600_000);

describe('what a random walk seldom meets', () => {
  const moving = (from: string, to: string) => t.namespace.relocate('move', { domain: t.domain, from, to });
  beforeEach(() => t.namespace.removeDirectory(t.domain, '', true));

  it('two directories that have changed places change them again', async () => {
    for (const key of ['one/1', 'two/2']) await t.namespace.commit(t.upload(key));
    const [time, before] = [await clock(), await listing()];
    await moving('one', 'aside');
    await moving('two', 'one');
    await moving('aside', 'two');
    expect(await rewind(time)).toMatchObject({ directoriesMoved: 2 });
    expect(await listing()).toEqual(before);
  });

  it('a directory comes back out of a removed tree that it was moved into, and the rest of that tree stays away', async () => {
    await t.namespace.commit(t.upload('inner/file'));
    const [time, before] = [await clock(), await listing()];
    await t.namespace.commit(t.upload('tree/other'));
    await moving('inner', 'tree/inner');
    await perform({ op: 'detach', key: 'tree', n: 0 }, []);
    await rewind(time);
    expect(await listing()).toEqual(before);
    await purgeDetached(t.db, 100);
    expect(await listing()).toEqual(before);
  });

  it('of two versions at one time, since one was long under way, the one that was there is taken', async () => {
    await t.namespace.commit(t.upload('dir/neighbour'));
    const held = gate();
    const slow = t.db.transaction(async (tx) => {
      await tx.query({ name: 'begin', text: 'SELECT 1' });
      await held.pass();
      await commitNow(tx, [t.upload('dir/x', 'slow')]);
    });
    await held.reached;
    await t.namespace.commit(t.upload('dir/x', 'there'));
    const [time, before] = [await clock(), await listing()];
    await t.namespace.remove(t.domain, 'dir/x');
    held.open();
    await slow;
    await rewind(time);
    expect(await listing()).toEqual(before);
  });
});

/** What must always hold of names, trash and blobs (docs/consistency.md, invariants 3, 4 and 9). */
async function expectSound(): Promise<void> {
  const broken = await t.sql(`
    SELECT 'name without bytes' AS what, n.name AS of FROM names n JOIN blobs b ON b.fid = n.fid WHERE b.state <> 'live'
    UNION ALL SELECT 'leaked blob', b.fid::text FROM blobs b WHERE b.state = 'live'
      AND NOT EXISTS (SELECT FROM names n WHERE n.fid = b.fid) AND NOT EXISTS (SELECT FROM trash t WHERE t.fid = b.fid)
      AND NOT EXISTS (SELECT FROM reap r WHERE r.fid = b.fid)
    UNION ALL SELECT 'directory with another path', d.path FROM names n JOIN dirs p ON p.id = n.dir_id JOIN dirs d ON d.id = n.child_id
      WHERE d.path <> p.path || n.name || '/'
    UNION ALL SELECT 'directory without a name', d.path FROM dirs d WHERE d.path <> '' AND NOT (d.path >= '/' AND d.path < '0')
      AND NOT EXISTS (SELECT FROM names n WHERE n.child_id = d.id)`);
  expect(broken).toEqual([]);
}
