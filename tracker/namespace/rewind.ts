// Rewinds: a domain's names as they were at a time, in one step for all readers. Recorded, so that it can be undone.
import { Problem } from '../../services/problems.ts';
import type { DomainState } from '../cluster/state.ts';
import { type Database, type Queryable, type Statement, sqlState } from '../database/database.ts';
import { lockDomain } from './directories.ts';
import { domainBusy } from './enter.ts';
import { answerOnce } from './idempotency.ts';
import { applyRewind, holdBlobs } from './rewind-apply.ts';
import { describePlan, planRewind, type RewindChange, type RewindCounts } from './rewind-plan.ts';
import type { Answer, Idempotency } from './types.ts';

export interface Rewind extends RewindCounts {
  /** When it was done, and to what time: RFC 3339, UTC, with microseconds. */
  at: string;
  to: string;
}

export interface RewindAnswer extends Rewind {
  /** What was changed, or would be: what is lost first, then by key, up to the limit. */
  changes: RewindChange[];
  /** There are more changes than that. */
  truncated: boolean;
}

export interface RewindWish {
  /** RFC 3339; undefined: undo the last rewind. */
  to: string | undefined;
  dryRun: boolean;
  /** How many changes to list. */
  limit: number;
}

const iso = (time: string) => `to_char(${time} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;

// Writes of the domain hold a share of this lock (enter.ts). Those under way are waited for; new ones get no share.
export const takeDomain: Statement = {
  name: 'rewind-take-domain',
  text: 'SELECT pg_advisory_xact_lock(3093, $1)',
};
const findTarget: Statement = {
  name: 'rewind-find-target',
  text: `SELECT ${iso('t.target')} AS target, ${iso('writing_at()')} AS at, ${iso('t.oldest')} AS oldest, m.trash_days,
      t.target < t.oldest AS "tooOld", t.target > writing_at() AS "tooNew"
    FROM domains m, LATERAL (SELECT
      coalesce($2::timestamptz, (SELECT r.at - interval '1 microsecond' FROM rewinds r
        WHERE r.domain_id = m.id ORDER BY r.id DESC LIMIT 1)) AS target,
      greatest(m.known_since, now() - m.trash_days * interval '1 day') AS oldest) t
    WHERE m.id = $1 AND m.dropped IS NULL`,
};
const listRewinds: Statement = {
  name: 'rewind-list',
  text: `SELECT ${iso('at')} AS at, ${iso('target')} AS "to", counts FROM rewinds WHERE domain_id = $1
    ORDER BY id DESC LIMIT 100`,
};

interface Target {
  target: string | null;
  at: string;
  oldest: string;
  trash_days: number;
  tooOld: boolean | null;
  tooNew: boolean | null;
}

/**
 * Makes a domain's names what they were at a time. Writes of the domain wait meanwhile; readers see all of it or nothing.
 * @returns 200 with a RewindAnswer
 * @throws Problem invalid-request if the time is in the future; state-conflict if it is too long ago, or there is
 *   nothing to undo; domain-busy if writes under way, or another rewind, do not end
 */
export async function rewind(
  db: Database,
  domain: DomainState,
  wish: RewindWish,
  idempotency?: Idempotency,
): Promise<Answer> {
  try {
    if (wish.dryRun) return await look(db, domain, wish);
    return await db.transaction((tx) =>
      answerOnce(tx, domain, idempotency, () => rewindIn(tx, domain, wish)),
    );
  } catch (error) {
    if (sqlState(error) === '55P03') throw domainBusy(domain);
    throw error;
  }
}

/** Rewinds within a transaction. */
export async function rewindIn(tx: Queryable, domain: DomainState, wish: RewindWish): Promise<Answer> {
  await tx.query(takeDomain, [domain.id]);
  // Sets the time of the rewind, too: later than that of every write that it finds.
  await lockDomain(tx, domain);
  const { at, target } = await targetOf(tx, domain, wish.to);
  await planRewind(tx, domain, target);
  await holdBlobs(tx);
  const plan = await describePlan(tx, domain, wish.limit + 1);
  await applyRewind(tx, domain, target, plan.counts);
  return answerFor(at, target, plan, wish.limit);
}

const freeze: Statement = {
  name: 'rewind-freeze',
  text: 'SET TRANSACTION ISOLATION LEVEL REPEATABLE READ',
};

/** Tells what a rewind would change. Keeps nobody waiting. */
function look(db: Database, domain: DomainState, wish: RewindWish): Promise<Answer> {
  return db.transaction(async (tx) => {
    await tx.query(freeze);
    const { at, target } = await targetOf(tx, domain, wish.to);
    await planRewind(tx, domain, target);
    return answerFor(at, target, await describePlan(tx, domain, wish.limit + 1), wish.limit);
  });
}

function answerFor(
  at: string,
  to: string,
  { counts, changes }: { counts: RewindCounts; changes: RewindChange[] },
  limit: number,
): Answer {
  const answer: RewindAnswer = {
    at,
    to,
    ...counts,
    changes: changes.slice(0, limit),
    truncated: changes.length > limit,
  };
  return { status: 200, body: answer };
}

async function targetOf(tx: Queryable, domain: DomainState, to: string | undefined) {
  const [found] = await tx.query<Target>(findTarget, [domain.id, to ?? null]);
  if (found === undefined) throw new Problem('domain-not-found', `There is no domain '${domain.name}'.`);
  const { target, at, oldest, tooOld, tooNew, trash_days: days } = found;
  if (target === null) {
    throw new Problem(
      'state-conflict',
      `There is no rewind of '${domain.name}' to undo in the last ${days} days.`,
    );
  }
  if (tooNew) throw new Problem('invalid-request', `${target} is in the future: it is ${at} now.`);
  if (tooOld) {
    throw new Problem(
      'state-conflict',
      `What the names of '${domain.name}' were at ${target} is not known any more: the trash goes back to ${oldest} (trashDays is ${days}).`,
      { members: { oldest } },
    );
  }
  return { target, at };
}

/** The oldest time that a domain can be rewound to, and its last 100 rewinds, newest first. */
export async function rewindsOf(
  db: Queryable,
  domain: DomainState,
): Promise<{ oldest: string; rewinds: Rewind[] }> {
  const [found] = await db.query<Target>(findTarget, [domain.id, null]);
  if (found === undefined) throw new Problem('domain-not-found', `There is no domain '${domain.name}'.`);
  const rows = await db.query<{ at: string; to: string; counts: RewindCounts }>(listRewinds, [domain.id]);
  return { oldest: found.oldest, rewinds: rows.map(({ at, to, counts }) => ({ at, to, ...counts })) };
}
