// Files that get another class because their key changed: the new class's copies must be there, or come first.
import { Problem } from '../../services/problems.ts';
import type { ClassState, DomainState } from '../cluster/state.ts';
import type { Database, Queryable, Statement } from '../database/database.ts';
import { endOfPath } from './directories.ts';

interface Wanted {
  fid: number;
  copies: number;
}

/** Blobs have fewer copies than the class that they would get demands before an upload is acknowledged. */
export class NotEnoughCopies extends Error {
  readonly wanted: Wanted[];

  constructor(wanted: Wanted[]) {
    super('too few copies');
    this.wanted = wanted;
  }
}

// Counts what can be relied on: good replicas on different hosts, on devices that are not dead.
const HOSTS_OF = `(SELECT count(DISTINCT v.host_id) FROM locations l JOIN devices v ON v.id = l.device_id
  WHERE l.fid = b.fid AND l.state = 'good' AND v.state <> 'dead')`;

const raiseWant: Statement = {
  name: 'raise-want',
  text: `UPDATE blobs b SET want = w.copies FROM unnest($1::bigint[], $2::smallint[]) AS w (fid, copies)
    WHERE b.fid = w.fid AND b.state = 'live' AND b.want < w.copies`,
};
const queueShort: Statement = {
  name: 'queue-short',
  text: `INSERT INTO repair (fid, copies, want, size)
    SELECT b.fid, ${HOSTS_OF}, b.want, b.size FROM blobs b
    WHERE b.fid = ANY ($1::bigint[]) AND b.state = 'live' AND ${HOSTS_OF} < b.want ORDER BY b.fid
    ON CONFLICT (fid) DO UPDATE SET version = repair.version + 1, copies = excluded.copies, want = excluded.want,
      next_try = now()`,
};
const stillShort: Statement = {
  name: 'still-short',
  text: `SELECT b.fid, w.copies FROM unnest($1::bigint[], $2::smallint[], $3::smallint[]) AS w (fid, copies, minimum)
    JOIN blobs b ON b.fid = w.fid WHERE b.state = 'live' AND ${HOSTS_OF} < w.minimum`,
};

/**
 * Lets a blob, which got a name of class `chosen` in this transaction, have what that class wants.
 * @throws NotEnoughCopies if it has fewer copies than the class's `minCopies`
 */
export async function honourClass(tx: Queryable, fid: number, chosen: ClassState): Promise<void> {
  const short = await tx.query<Wanted>(stillShort, [[fid], [chosen.copies], [chosen.minCopies]]);
  if (short.length > 0) throw new NotEnoughCopies(short);
  const raised = await tx.count(raiseWant, [[fid], [chosen.copies]]);
  if (raised > 0) await tx.query(queueShort, [[fid]]);
}

const prefixesOf: Statement = {
  name: 'prefixes-of',
  text: `SELECT p.prefix FROM classes c CROSS JOIN unnest(c.prefixes) AS p (prefix) WHERE c.domain_id = $1`,
};
const sameClass: Statement = {
  name: 'same-class',
  text: 'SELECT class_for($1, $2) = class_for($1, $3) AS same',
};
// Only files whose class was chosen by their former key get the one that the new key chooses.
const reclass: Statement = {
  name: 'reclass',
  text: `UPDATE names n SET class_id = class_for($1, d.path || n.name) FROM dirs d
    WHERE d.domain_id = $1 AND d.path >= $2 AND d.path < $3 AND n.dir_id = d.id AND n.fid IS NOT NULL
      AND n.class_id = class_for($1, $4 || substring(d.path FROM char_length($2) + 1) || n.name)
      AND n.class_id <> class_for($1, d.path || n.name)
    RETURNING n.fid, n.class_id`,
};
const classesOf: Statement = {
  name: 'classes-of',
  text: 'SELECT id, copies, min_copies FROM classes WHERE domain_id = $1',
};

/**
 * Gives the files below `target`, which were below `source` before, the classes that their new keys choose. Costs
 * nothing unless a class's prefix tells the two trees apart.
 * @throws NotEnoughCopies
 */
export async function reclassBelow(
  tx: Queryable,
  domain: DomainState,
  source: string,
  target: string,
): Promise<void> {
  const prefixes = await tx.query<{ prefix: string }>(prefixesOf, [domain.id]);
  const inside = prefixes.some(({ prefix }) => prefix.startsWith(source) || prefix.startsWith(target));
  const [base] = await tx.query<{ same: boolean }>(sameClass, [domain.id, source, target]);
  if (!inside && base?.same) return;
  const changed = await tx.query<{ fid: number; class_id: number }>(reclass, [
    domain.id,
    target,
    endOfPath(target),
    source,
  ]);
  if (changed.length === 0) return;
  const classes = await tx.query<{ id: number; copies: number; min_copies: number }>(classesOf, [domain.id]);
  const byId = new Map(classes.map((row) => [row.id, row]));
  const fids = changed.map(({ fid }) => fid);
  const copies = changed.map(({ class_id }) => byId.get(class_id)?.copies);
  const minimum = changed.map(({ class_id }) => byId.get(class_id)?.min_copies);
  const short = await tx.query<Wanted>(stillShort, [fids, copies, minimum]);
  if (short.length > 0) throw new NotEnoughCopies(short);
  await tx.query(raiseWant, [fids, copies]);
  await tx.query(queueShort, [fids]);
}

const PATIENCE_MS = 10_000;

/**
 * Runs `work`; if it wants more copies of some blobs, has them made first and runs it again (consistency.md,
 * 'sharing'). `wake` tells the repair workers.
 * @throws Problem too-few-devices if they were not made in time; they stay queued
 */
export async function withCopies<T>(db: Database, wake: () => void, work: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof NotEnoughCopies)) throw error;
      if (Date.now() > deadline) {
        throw new Problem(
          'too-few-devices',
          'The class of the key wants more good copies first; they could not be made in time. Try again; see: cistern repair.',
        );
      }
      const fids = error.wanted.map(({ fid }) => fid);
      const copies = error.wanted.map((wanted) => wanted.copies);
      await db.transaction(async (tx) => {
        await tx.query(raiseWant, [fids, copies]);
        await tx.query(queueShort, [fids]);
      });
      wake();
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }
}
