// What has had its time goes, and nothing else: versions in the trash, the history of names, answers, and at last the bytes.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openNamespace, type TestNamespace } from '../../test/support/namespace.ts';
import { setTrashDays } from '../cluster/domains.ts';
import { RECEIPT_LIFE_MS } from '../transfer/receipts.ts';
import { emptyTrash, forgetAnswers, forgetHistory } from './expiry.ts';
import { forgetTombstones, reap } from './reaper.ts';

let t: TestNamespace;
beforeAll(async () => {
  t = await openNamespace();
});
afterAll(() => t.close());
beforeEach(() => t.sql('TRUNCATE trash, history, rewinds, idempotency, reap'));

const DAYS = 30;
const trashed = async () => {
  const { versions } = await t.namespace.listTrash(t.domain, { prefix: '', limit: 100 });
  return versions.map(({ key }) => key).sort();
};
/** Puts a file and deletes it; it is as if that had been `days` ago. */
async function deleted(key: string, days: number): Promise<number> {
  const upload = t.upload(key);
  await t.namespace.commit(upload);
  await t.namespace.remove(t.domain, key);
  await t.sql(
    `UPDATE trash SET at = at - $2 * interval '1 day', since = since - $2 * interval '1 day' WHERE key = $1`,
    [key, days],
  );
  return upload.fid;
}
const stateOf = async (fid: number) =>
  (await t.sql<{ state: string }>('SELECT state FROM blobs WHERE fid = $1', [fid]))[0]?.state;

describe('the trash', () => {
  it('keeps a version for the trashDays of its domain, and no longer', async () => {
    const old = await deleted('old', DAYS + 0.01);
    const young = await deleted('young', DAYS - 0.01);
    await emptyTrash(t.db);
    expect(await trashed()).toEqual(['young']);
    await reap(t.db, 0);
    expect([await stateOf(old), await stateOf(young)]).toEqual(['gone', 'live']);
  });

  it('gives bytes up only after the grace period, though their version has left the trash', async () => {
    const fid = await deleted('waits', DAYS + 1);
    await emptyTrash(t.db);
    expect(await reap(t.db, 3600)).toMatchObject({ looked: 0 });
    await t.sql(`UPDATE reap SET at = at - interval '3601 seconds'`);
    expect(await reap(t.db, 3600)).toMatchObject({ gone: 1 });
    expect(await stateOf(fid)).toBe('gone');
  });

  it('leaves the bytes of a version alone that has another name, or lies in the trash twice', async () => {
    const fid = await deleted('one', DAYS + 1);
    const [version] = await t.sql<{ id: number }>(`SELECT id FROM trash WHERE key = 'one'`);
    await t.namespace.restore(t.domain, Number(version?.id), {});
    await t.namespace.relocate('copy', { domain: t.domain, from: 'one', to: 'two' });
    await t.namespace.remove(t.domain, 'one');
    await t.sql(`UPDATE trash SET at = at - interval '31 days'`);
    await emptyTrash(t.db);
    await reap(t.db, 0);
    expect(await stateOf(fid)).toBe('live');
    await t.namespace.relocate('copy', { domain: t.domain, from: 'two', to: 'three' });
    for (const key of ['two', 'three']) await t.namespace.remove(t.domain, key);
    await t.sql(`UPDATE trash SET at = at - interval '31 days' WHERE key = 'two'`);
    await emptyTrash(t.db);
    expect(await reap(t.db, 0)).toMatchObject({ looked: 1 });
    expect([await stateOf(fid), await trashed()]).toEqual(['live', ['three']]);
  });

  it('goes by the days of each domain, and never gives up what is behind something younger', async () => {
    await t.sql(`INSERT INTO domains (name, trash_days) VALUES ('short', 1) ON CONFLICT DO NOTHING`);
    const fid = await deleted('mine', 2);
    await t.sql(
      `INSERT INTO trash (domain_id, key, fid, class_id, content_type, mtime, reason, at)
      SELECT id, 'theirs', $1, (SELECT min(id) FROM classes), 'text/plain', now(), 'deleted', now() - interval '2 days'
      FROM domains WHERE name = 'short'`,
      [fid],
    );
    await emptyTrash(t.db);
    expect(await t.sql('SELECT key FROM trash')).toEqual([{ key: 'mine' }]);
  });

  it('is emptied in batches, and says when there is more', async () => {
    const fid = await deleted('many', DAYS + 1);
    await t.sql(
      `INSERT INTO trash (domain_id, key, fid, class_id, content_type, mtime, reason, at)
      SELECT domain_id, 'many' || n, fid, class_id, content_type, mtime, reason, at
      FROM trash, generate_series(1, 1500) n WHERE fid = $1`,
      [fid],
    );
    expect([await emptyTrash(t.db), await emptyTrash(t.db)]).toEqual([true, false]);
    expect(await trashed()).toEqual([]);
  });
});

describe('the history of names', () => {
  it('goes with the trash: what left it in time is not remembered longer, nor shorter', async () => {
    await deleted('old', DAYS + 1);
    await deleted('young', DAYS - 1);
    for (const { id } of await t.sql<{ id: number }>(`SELECT id FROM trash`)) {
      await t.namespace.purgeVersion(t.domain, Number(id));
    }
    expect(await t.sql('SELECT name FROM history')).toEqual([{ name: 'young' }]);
    await forgetHistory(t.db);
    expect(await t.sql('SELECT name FROM history')).toEqual([{ name: 'young' }]);
    await t.sql(`UPDATE history SET until = until - interval '1 day'`);
    await forgetHistory(t.db);
    expect(await t.sql('SELECT name FROM history')).toEqual([]);
  });

  it('forgets rewinds after the same time', async () => {
    const ago = (days: number) =>
      t.sql(
        `INSERT INTO rewinds (domain_id, at, target, counts) VALUES ($1, now() - $2 * interval '1 day', now(), '{}')`,
        [t.domain.id, days],
      );
    await ago(DAYS - 1);
    await ago(DAYS + 1);
    await forgetHistory(t.db);
    expect(await t.sql('SELECT FROM rewinds')).toHaveLength(1);
  });

  it('is not known for the days that were added later', async () => {
    await t.sql(`UPDATE domains SET known_since = now() - interval '1 year' WHERE id = $1`, [t.domain.id]);
    await setTrashDays(t.db, t.domain, 2);
    await setTrashDays(t.db, t.domain, DAYS);
    const { oldest } = await t.namespace.rewinds(t.domain);
    expect((Date.now() - Date.parse(oldest)) / 86_400_000).toBeCloseTo(2, 1);
  });
});

describe('first answers to requests with an Idempotency-Key', () => {
  it('are kept for a day, and no longer', async () => {
    const once = (key: string) =>
      t.namespace.commitOnce(t.domain, [t.upload(key)], { key, request: `PUT /${key}` }, () => ({
        status: 201,
      }));
    for (const key of ['a-day-old', 'nearly']) await once(key);
    const age = (key: string, hours: number) =>
      t.sql(`UPDATE idempotency SET at = at - $2 * interval '1 hour' WHERE key = $1`, [key, hours]);
    await age('a-day-old', 24.01);
    await age('nearly', 23.99);
    expect(await forgetAnswers(t.db)).toBe(false);
    expect((await once('nearly')).repeated).toBe(true);
    expect((await once('a-day-old')).repeated).toBe(false);
  });
});

describe('tombstones of what is gone or burned', () => {
  const HOUR = 3_600_000;
  const known = async (fid: number) => (await stateOf(fid)) ?? 'forgotten';
  const age = (fid: number, ms: number) =>
    t.sql(`UPDATE blobs SET at = now() - $2 * interval '1 millisecond' WHERE fid = $1`, [fid, ms]);
  const problem = (name: string) => expect.objectContaining({ problem: name });

  /** A file that was deleted and reaped, and that no device holds any more. */
  async function gone(key: string) {
    await t.sql('UPDATE classes SET trash = false');
    const upload = t.upload(key);
    await t.namespace.commit(upload);
    await t.namespace.remove(t.domain, key);
    await reap(t.db, 0);
    await t.sql('DELETE FROM locations WHERE fid = $1', [upload.fid]);
    await t.sql('UPDATE classes SET trash = true');
    return upload;
  }

  it('answer a commit that is repeated for longer than its receipt is accepted, and are forgotten after a day', async () => {
    const upload = await gone('tombstone');
    await age(upload.fid, RECEIPT_LIFE_MS + HOUR);
    expect(await forgetTombstones(t.db)).toBe(false);
    expect(await t.namespace.commit(upload)).toMatchObject({ created: true, entry: { fid: upload.fid } });
    expect(await t.namespace.find(t.domain, 'tombstone')).toBeUndefined();
    await age(upload.fid, 24 * HOUR - 60_000);
    await forgetTombstones(t.db);
    expect(await known(upload.fid)).toBe('gone');
    await age(upload.fid, 24 * HOUR + 60_000);
    await forgetTombstones(t.db);
    expect(await known(upload.fid)).toBe('forgotten');
  });

  it('refuse a late commit of what was burned for as long', async () => {
    const upload = t.upload('burned');
    await t.namespace.burn([{ fid: upload.fid, devices: [] }]);
    await age(upload.fid, RECEIPT_LIFE_MS + HOUR);
    await forgetTombstones(t.db);
    await expect(t.namespace.commit(upload)).rejects.toEqual(problem('upload-void'));
    await age(upload.fid, 25 * HOUR);
    await forgetTombstones(t.db);
    expect(await known(upload.fid)).toBe('forgotten');
  });

  it('stay while a device holds a replica, and never go for what lives', async () => {
    const [held, live] = [await gone('held'), t.upload('live')];
    await t.namespace.commit(live);
    await t.sql(`INSERT INTO locations (fid, device_id, state, at) VALUES ($1, 1, 'removing', 'epoch')`, [
      held.fid,
    ]);
    // All its replicas are lost, which is no reason to forget that it is named.
    await t.sql('DELETE FROM locations WHERE fid = $1', [live.fid]);
    for (const { fid } of [held, live]) await age(fid, 48 * HOUR);
    await forgetTombstones(t.db);
    expect([await known(held.fid), await known(live.fid)]).toEqual(['gone', 'live']);
  });
});
