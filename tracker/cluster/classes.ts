// Classes as rows: a domain's replication policies, and which keys they are chosen for.
import { Problem } from '../../services/problems.ts';
import type { Database, Queryable, Statement } from '../database/database.ts';
import { noteReclass } from '../replication/reclass.ts';
import type { ClassState, DomainState } from './state.ts';

export type ClassChange = Partial<Pick<ClassState, 'copies' | 'minCopies' | 'spread' | 'prefixes' | 'trash'>>;

// The domain's row is locked, so that classes are compared with each other by one at a time.
const lockDomain: Statement = {
  name: 'lock-domain-for-classes',
  text: 'SELECT id FROM domains WHERE id = $1 AND dropped IS NULL FOR NO KEY UPDATE',
};
const listClasses: Statement = {
  name: 'list-classes',
  text: `SELECT id, domain_id AS "domainId", name, copies, min_copies AS "minCopies", spread, prefixes, trash
    FROM classes WHERE domain_id = $1`,
};
const saveClass: Statement = {
  name: 'save-class',
  text: `INSERT INTO classes (domain_id, name, copies, min_copies, spread, prefixes, trash) VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (domain_id, name) DO UPDATE SET copies = excluded.copies, min_copies = excluded.min_copies,
      spread = excluded.spread, prefixes = excluded.prefixes, trash = excluded.trash
    RETURNING id`,
};
const classInUse: Statement = {
  name: 'class-in-use',
  text: `SELECT EXISTS (SELECT FROM names WHERE class_id = $1) AS named,
    EXISTS (SELECT FROM trash WHERE class_id = $1) AS trashed`,
};
const deleteClass: Statement = { name: 'delete-class', text: 'DELETE FROM classes WHERE id = $1' };

const blank: Required<ClassChange> = {
  copies: 2,
  minCopies: 2,
  spread: 'host',
  prefixes: [],
  trash: true,
};

/**
 * Makes a class, or changes it: what `change` does not name stays, and is 2, 2, host, none and true in a new one.
 * @returns whether it is new
 * @throws Problem domain-not-found; invalid-request if it contradicts itself; already-exists if a prefix is another's
 */
export function putClass(db: Database, domain: DomainState, name: string, change: ClassChange) {
  return db.transaction(async (tx) => {
    const classes = await lockClasses(tx, domain);
    const former = classes.find((one) => one.name === name);
    const wanted = { ...(former ?? blank), ...change };
    check(wanted, name);
    for (const { name: other, prefixes } of classes) {
      const shared = other === name ? undefined : prefixes.find((prefix) => wanted.prefixes.includes(prefix));
      if (shared === undefined) continue;
      throw new Problem('already-exists', `The prefix '${shared}' chooses class '${other}' already.`);
    }
    const { copies, minCopies, spread, prefixes, trash } = wanted;
    const values = [domain.id, name, copies, minCopies, spread, prefixes, trash];
    const [saved] = await tx.query<{ id: number }>(saveClass, values);
    const others = classes.filter((one) => one !== former);
    await noteReclass(
      tx,
      domain.id,
      [...others, ...(former === undefined ? [] : [former])],
      [
        ...others,
        ...(former === undefined && prefixes.length === 0 ? [] : [{ id: saved?.id as number, prefixes }]),
      ],
    );
    return former === undefined;
  });
}

/** @throws Problem domain-not-found, class-not-found; state-conflict if it is 'default', or a file is of it */
export function removeClass(db: Database, domain: DomainState, name: string): Promise<void> {
  return db.transaction(async (tx) => {
    const found = (await lockClasses(tx, domain)).find((one) => one.name === name);
    if (found === undefined) {
      throw new Problem('class-not-found', `Domain '${domain.name}' has no class '${name}'.`);
    }
    if (name === 'default') {
      throw new Problem('state-conflict', "The class 'default' stays: it is for all keys without another.");
    }
    const [use] = await tx.query<{ named: boolean; trashed: boolean }>(classInUse, [found.id]);
    if (use?.named || use?.trashed) {
      const where = use.named ? 'There are files' : 'There are versions in the trash';
      throw new Problem('state-conflict', `${where} of class '${name}'. Remove or replace them first.`);
    }
    // A file that is committed just now holds the foreign key: 23503, and the transaction looks again.
    await tx.query(deleteClass, [found.id]);
  });
}

async function lockClasses(tx: Queryable, domain: DomainState): Promise<ClassState[]> {
  if ((await tx.query(lockDomain, [domain.id])).length === 0) {
    throw new Problem('domain-not-found', `There is no domain '${domain.name}'.`);
  }
  return tx.query<ClassState>(listClasses, [domain.id]);
}

function check({ copies, minCopies, prefixes }: Required<ClassChange>, name: string): void {
  if (minCopies > copies) {
    throw new Problem('invalid-request', `minCopies (${minCopies}) is more than copies (${copies}).`);
  }
  if (name === 'default' && prefixes.length > 0) {
    throw new Problem(
      'invalid-request',
      "The class 'default' has no prefixes: it is for all keys without another.",
    );
  }
}
