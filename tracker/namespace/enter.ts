// Writes enter their domain, each with a share of its lock; a rewind has the lock alone. So no write is half before a
// rewind and half after it. Readers are never kept waiting.
import { setTimeout as sleep } from 'node:timers/promises';
import { Problem } from '../../services/problems.ts';
import type { DomainState } from '../cluster/state.ts';
import { type Database, type Queryable, sqlState } from '../database/database.ts';

/** How long a write waits for a rewind of its domain to end, before its client is told 503. Milliseconds. */
export const PATIENCE_MS = 8_000;
const LOOK_EVERY_MS = 100;

/**
 * Runs `work` in a transaction that has entered `domain`. While the domain is being rewound this asks again and again,
 * without a connection to the database in the meantime.
 * @param first SQL that comes before everything else, such as the isolation level
 * @throws Problem domain-busy after PATIENCE_MS, and what Database.transaction throws
 */
export async function inDomain<T>(
  db: Database,
  domain: DomainState,
  work: (tx: Queryable) => Promise<T>,
  first = '',
): Promise<T> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await db.transaction(work, `${first} SELECT enter_domain(${domain.id})`);
    } catch (error) {
      if (sqlState(error) !== 'RW001') throw error;
      if (Date.now() > deadline) throw domainBusy(domain);
      await sleep(LOOK_EVERY_MS);
    }
  }
}

/** The problem of a write that comes while its domain is being rewound. */
export function domainBusy(domain: DomainState): Problem {
  return new Problem(
    'domain-busy',
    `The domain '${domain.name}' is being rewound. Nothing was written; try again shortly.`,
  );
}
