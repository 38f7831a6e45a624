// Hands out fids, each once and never again: across crashes, failovers and restores of the database.
// A sequence will not do: after a crash PostgreSQL may repeat numbers that nextval returned without a commit.
import type { Database, Queryable, Statement } from '../database/database.ts';
import { DATABASE_IDENTITY } from './snapshot.ts';

const BLOCK = 1_000;

/** More fids than can have been handed out and then forgotten by a failover or a restore. */
const JUMP = 1_000_000;

const lockCounter: Statement = {
  name: 'lock-fid-counter',
  text: `SELECT next_fid AS next, sweep_from AS "sweepFrom", database_identity AS former,
      ${DATABASE_IDENTITY} AS identity, (SELECT coalesce(max(highest_fid), 0) FROM heartbeats) AS highest
    FROM cluster WHERE only_row FOR UPDATE`,
};
const moveCounter: Statement = {
  name: 'move-fid-counter',
  text: 'UPDATE cluster SET next_fid = $1, sweep_from = $2, database_identity = $3',
};

interface Counter {
  next: number;
  sweepFrom: number;
  /** The database that fids were handed out from last; null before the first. */
  former: string | null;
  identity: string;
  /** The highest fid that any node has reported. */
  highest: number;
}

interface Block {
  /** The database's identity as the cluster's state had it when the block was asked for. */
  seen: string;
  next: number;
  end: number;
}

export class FidAllocator {
  readonly #db: Database;
  readonly #identity: () => string;
  #block: Block = { seen: '', next: 0, end: 0 };
  #fetching: Promise<void> | undefined;

  /** @param identity the database's identity as last seen; when it changes, the fids kept back are dropped */
  constructor(db: Database, identity: () => string) {
    this.#db = db;
    this.#identity = identity;
  }

  /** @throws Problem database-unavailable; also when the upload that wants the fid could not be committed now */
  async next(): Promise<number> {
    this.#db.assertWritable();
    while (this.#block.next === this.#block.end || this.#block.seen !== this.#identity()) {
      this.#fetching ??= this.#fetch().finally(() => {
        this.#fetching = undefined;
      });
      await this.#fetching;
    }
    return this.#block.next++;
  }

  async #fetch(): Promise<void> {
    const seen = this.#identity();
    this.#block = { seen, ...(await this.#db.transaction(allocateBlock)) };
  }
}

/**
 * Allocates a block; it is ours when the transaction is committed, before any of it is used.
 * If the database is not the one that fids came from last (failover, restore), or a node holds a fid that this
 * database has not handed out (a restore in place), the counter jumps beyond all that may exist, and the sweep leaves
 * alone whatever lies below.
 */
export async function allocateBlock(tx: Queryable): Promise<Omit<Block, 'seen'>> {
  const [counter] = await tx.query<Counter>(lockCounter);
  if (counter === undefined) throw new Error('the table cluster has no row');
  const { former, identity, highest } = counter;
  let { next, sweepFrom } = counter;
  if ((former !== null && former !== identity) || highest >= next) {
    next = Math.max(next, highest + 1) + JUMP;
    sweepFrom = next;
  }
  await tx.query(moveCounter, [next + BLOCK, sweepFrom, identity]);
  return { next, end: next + BLOCK };
}
