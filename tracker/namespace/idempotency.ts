// Requests that carry an Idempotency-Key: the first answer is stored in the transaction that made it, and repeated.
import { Problem } from '../../services/problems.ts';
import type { DomainState } from '../cluster/state.ts';
import { confirmSeen, type Queryable, type Statement } from '../database/database.ts';
import type { Answer, Idempotency } from './types.ts';

interface AnswerRow {
  request: string;
  answer: Answer | null;
}

const findAnswer: Statement = {
  name: 'find-answer',
  text: 'SELECT request, answer FROM idempotency WHERE domain_id = $1 AND key = $2',
};
// A concurrent request with the same key waits here until the first one has committed or failed.
const claimAnswer: Statement = {
  name: 'claim-answer',
  text: `INSERT INTO idempotency (domain_id, key, request) VALUES ($1, $2, $3)
    ON CONFLICT (domain_id, key) DO NOTHING RETURNING key`,
};
const storeAnswer: Statement = {
  name: 'store-answer',
  text: 'UPDATE idempotency SET answer = $3 WHERE domain_id = $1 AND key = $2',
};

/**
 * The first answer to a request with this Idempotency-Key, or undefined if there was none yet.
 * @throws Problem state-conflict if the key was used for another request
 */
export async function firstAnswer(
  db: Queryable,
  domain: DomainState,
  idempotency: Idempotency,
): Promise<Answer | undefined> {
  const [row] = await db.query<AnswerRow>(findAnswer, [domain.id, idempotency.key]);
  if (row === undefined) return undefined;
  if (row.request !== idempotency.request) {
    throw new Problem('state-conflict', 'This Idempotency-Key was used for another request. Use a new one.');
  }
  if (row.answer === null) return undefined;
  await confirmSeen(db);
  return row.answer;
}

/** Runs `work` and stores its answer in the same transaction, or repeats the first answer without running it. */
export async function answerOnce(
  tx: Queryable,
  domain: DomainState,
  idempotency: Idempotency | undefined,
  work: () => Promise<Answer>,
): Promise<Answer> {
  if (idempotency === undefined) return work();
  const claimed = await tx.query(claimAnswer, [domain.id, idempotency.key, idempotency.request]);
  if (claimed.length === 0) {
    const answer = await firstAnswer(tx, domain, idempotency);
    if (answer !== undefined) return answer;
    throw new Problem(
      'state-conflict',
      'A request with this Idempotency-Key is under way. Repeat it shortly.',
    );
  }
  const answer = await work();
  await tx.query(storeAnswer, [domain.id, idempotency.key, JSON.stringify(answer)]);
  return answer;
}
