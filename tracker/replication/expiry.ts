// What has had its time: versions in the trash, the history of names, and stored answers to repeated requests.
import type { Database, Statement } from '../database/database.ts';

const BATCH = 1000;

// Ids grow with time, so what is expired stands at the head of each domain's ids. The trigger on trash queues the blobs
// for the reaper, which leaves those alone that a restore has named meanwhile.
const expireTrash: Statement = {
  name: 'expiry-trash',
  text: `DELETE FROM trash WHERE id = ANY (ARRAY(
      SELECT oldest.id FROM domains m, LATERAL (
        SELECT id, at FROM trash WHERE domain_id = m.id ORDER BY id LIMIT $1
      ) AS oldest WHERE oldest.at <= now() - m.trash_days * interval '1 day'))`,
};

const expireHistory: Statement = {
  name: 'expiry-history',
  text: `DELETE FROM history WHERE id = ANY (ARRAY(
      SELECT oldest.id FROM domains m, LATERAL (
        SELECT id, until FROM history WHERE domain_id = m.id ORDER BY id LIMIT $1
      ) AS oldest WHERE oldest.until <= now() - m.trash_days * interval '1 day'))`,
};

const expireRewinds: Statement = {
  name: 'expiry-rewinds',
  text: `DELETE FROM rewinds r USING domains m
    WHERE m.id = r.domain_id AND r.at <= now() - m.trash_days * interval '1 day'`,
};

const expireAnswers: Statement = {
  name: 'expiry-answers',
  text: `DELETE FROM idempotency i USING (
      SELECT domain_id, key FROM idempotency WHERE at <= now() - interval '24 hours'
      ORDER BY at LIMIT $1 FOR UPDATE SKIP LOCKED
    ) AS old WHERE i.domain_id = old.domain_id AND i.key = old.key`,
};

/** Gives up one batch of the versions that lay in the trash for their domain's `trashDays`. True if there is more. */
export async function emptyTrash(db: Database): Promise<boolean> {
  return (await db.count(expireTrash, [BATCH])) >= BATCH;
}

/** Forgets one batch of what names were, and the rewinds, after the same time. True if there is more. */
export async function forgetHistory(db: Database): Promise<boolean> {
  await db.count(expireRewinds);
  return (await db.count(expireHistory, [BATCH])) >= BATCH;
}

/** Forgets one batch of first answers to requests with an Idempotency-Key, after 24 hours. True if there is more. */
export async function forgetAnswers(db: Database): Promise<boolean> {
  return (await db.count(expireAnswers, [BATCH])) >= BATCH;
}
