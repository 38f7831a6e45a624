// Gives uploads their names: gathers commits into batches, makes missing directories, and resolves what is unknown
// after a lost connection by asking the ledger again.
import { failPoint } from '../../services/fail-points.ts';
import { splitKey } from '../../services/keys.ts';
import { Problem } from '../../services/problems.ts';
import type { ClusterState } from '../cluster/state.ts';
import { Batcher } from '../database/batcher.ts';
import {
  confirmSeen,
  type Database,
  isCollision,
  isUnavailable,
  type Queryable,
  type Statement,
} from '../database/database.ts';
import { type CommitResult, commitNow, problemOf } from './commit.ts';
import { ensureDirectory } from './directories.ts';
import { domainBusy, inDomain, PATIENCE_MS } from './enter.ts';
import { findNow } from './find.ts';
import { isDirectory, lockTarget } from './names.ts';
import { preconditionFailed } from './preconditions.ts';
import { type Committed, entryOf, entryOfUpload, type Upload } from './types.ts';

const findInLedger: Statement = { name: 'find-in-ledger', text: 'SELECT fid FROM blobs WHERE fid = $1' };

export class Committer {
  readonly #db: Database;
  readonly #state: ClusterState;
  readonly #batcher: Batcher<Upload, CommitResult>;

  constructor(db: Database, state: ClusterState) {
    this.#db = db;
    this.#state = state;
    this.#batcher = new Batcher((uploads) => this.#run(uploads), {
      size: 64,
      concurrency: 2,
      key: (upload) => `${upload.domain.id}/${upload.key}`,
    });
  }

  /** Commits one upload. The same fid again gets the first answer, whatever its precondition. */
  async commit(upload: Upload): Promise<Committed> {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      try {
        const result =
          upload.precondition?.ifMatch !== undefined
            ? await inDomain(this.#db, upload.domain, (tx) => this.#commitMatching(tx, upload))
            : await this.#batcher.add(upload);
        failPoint('tracker-committed');
        const committed = await this.#settle(this.#db, upload, result);
        if (committed !== undefined) return committed;
      } catch (error) {
        // The database went away, and the outcome may be unknown; or the domain is being rewound.
        const busy = error instanceof Problem && error.problem === 'domain-busy';
        if (!(busy || isUnavailable(error)) || Date.now() > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }

  /** Commits several uploads in `tx`: all of them, or it throws. */
  async commitAll(tx: Queryable, uploads: Upload[]): Promise<Committed[]> {
    for (const upload of uploads) await ensureDirectory(tx, upload.domain, splitKey(upload.key).path);
    const results = await commitNow(tx, uploads);
    failPoint('tracker-commit-open');
    const committed: Committed[] = [];
    for (const [i, upload] of uploads.entries()) {
      const settled = await this.#settle(tx, upload, results[i] as CommitResult);
      if (settled === undefined)
        throw new Problem('state-conflict', `'${upload.key}' changed meanwhile. Try again.`);
      committed.push(settled);
    }
    return committed;
  }

  // If-Match: the name's row is locked, compared, and replaced in one transaction. The ledger comes first: a commit
  // that is repeated gets the first answer, though the key holds another version by now (its own).
  async #commitMatching(tx: Queryable, upload: Upload): Promise<CommitResult> {
    await this.lockMatching(tx, upload);
    const [result] = await commitNow(tx, [upload]);
    return result as CommitResult;
  }

  /** Locks the name that an upload with If-Match is to replace, and compares. @throws Problem precondition-failed */
  async lockMatching(tx: Queryable, upload: Upload): Promise<void> {
    const known = await tx.query(findInLedger, [upload.fid]);
    if (known.length === 0) await lockTarget(tx, this.#state, upload.domain, upload.key, upload.precondition);
  }

  async #run(uploads: Upload[]): Promise<(CommitResult | Error)[]> {
    try {
      return await commitNow(this.#db, uploads);
    } catch (error) {
      if (!isCollision(error)) throw error;
      // One of them collided with something else: each by itself, and repeated, so that only the culprit waits.
      const one = (upload: Upload) => this.#db.transaction((tx) => commitNow(tx, [upload]));
      const settled = await Promise.allSettled(
        uploads.map(async (upload) => (await one(upload))[0] as CommitResult),
      );
      return settled.map((result) =>
        result.status === 'fulfilled' ? result.value : (result.reason as Error),
      );
    }
  }

  /** Turns an outcome into an answer or a problem; undefined: try again. */
  async #settle(
    db: Queryable,
    upload: Upload,
    { outcome, mtime }: CommitResult,
  ): Promise<Committed | undefined> {
    switch (outcome) {
      case 'created':
      case 'replaced':
        return { created: outcome === 'created', entry: entryOfUpload(upload, mtime) };
      case 'repeated-created':
      case 'repeated-replaced': {
        await confirmSeen(db);
        const [now] = await findNow(db, this.#state, [{ domainId: upload.domain.id, key: upload.key }]);
        const same = now?.kind === 'file' && now.fid === upload.fid;
        return {
          created: outcome === 'repeated-created',
          entry: same ? entryOf(now) : entryOfUpload(upload, mtime),
        };
      }
      case 'no-directory':
        await inDomain(this.#db, upload.domain, (tx) =>
          ensureDirectory(tx, upload.domain, splitKey(upload.key).path),
        );
        failPoint('tracker-directories-made');
        return undefined;
      case 'busy':
        throw domainBusy(upload.domain);
      case 'conflict': {
        const [now] = await findNow(db, this.#state, [{ domainId: upload.domain.id, key: upload.key }]);
        if (now?.kind === 'directory') throw isDirectory(upload.key);
        // The same commit, running twice, meets its own name: the ledger has the answer by now.
        const known = await db.query(findInLedger, [upload.fid]);
        if (now !== undefined && known.length === 0) throw preconditionFailed(now);
        return undefined;
      }
      default:
        throw problemOf(outcome, upload);
    }
  }
}
