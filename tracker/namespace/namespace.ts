// The namespace: what the API does with names. Every method is one operation that is whole or not at all.
import { splitKey } from '../../services/keys.ts';
import { Problem } from '../../services/problems.ts';
import type { ClusterState, DomainState } from '../cluster/state.ts';
import type { Database, Queryable } from '../database/database.ts';
import { withCopies } from './classes.ts';
import { burnNow } from './commit.ts';
import { Committer } from './committer.ts';
import {
  detachTree,
  ensureDirectory,
  findDirectory,
  lockDomain,
  pathOfDirectory,
  removeEmpty,
  requireDirectory,
} from './directories.ts';
import { inDomain } from './enter.ts';
import { Finder, findNow, type ReadName, type StaleReads } from './find.ts';
import { answerOnce, firstAnswer } from './idempotency.ts';
import { listAllBelow, listOneLevel, type Page } from './list.ts';
import { type Change, changeFile, removeFile } from './names.ts';
import { keepPast } from './past.ts';
import { purgeDetached } from './purge.ts';
import { copyDirectory, copyFile, moveDirectory, moveFile, type Relocation } from './relocate.ts';
import { type RewindWish, rewind, rewindsOf } from './rewind.ts';
import { summarize } from './summaries.ts';
import { keyOfVersion, listTrash, purgeVersion, purgeVersions, restoreVersion } from './trash.ts';
import {
  type Answer,
  type Committed,
  type DirectoryEntry,
  entryOf,
  type FileEntry,
  type Found,
  type Idempotency,
  type Precondition,
  type Upload,
} from './types.ts';

export class Namespace {
  readonly #db: Database;
  readonly #state: ClusterState;
  readonly #finder: Finder;
  readonly #committer: Committer;
  readonly #wake: () => void;

  /**
   * @param wake called when something was queued for repair or reaping just now
   * @param staleReads what may be read while the database is away; nothing
   */
  constructor(
    db: Database,
    state: ClusterState,
    wake: () => void,
    staleReads: StaleReads = { seconds: 0, bytes: 0 },
  ) {
    this.#db = db;
    this.#state = state;
    this.#finder = new Finder(db, state, staleReads);
    this.#committer = new Committer(db, state);
    this.#wake = wake;
  }

  /** What a key names, or undefined. Sees every write that was acknowledged before the call. */
  find(domain: DomainState, key: string): Promise<Found | undefined> {
    return this.#finder.find(domain, key);
  }

  /** What a key names, for reading it: while no primary of the database answers, what it named a moment ago. */
  read(domain: DomainState, key: string): Promise<ReadName> {
    return this.#finder.read(domain, key);
  }

  /** Whether what was known a moment ago may be used for reading, since no primary of the database answers. */
  async permitsStaleReads(): Promise<boolean> {
    const away = await this.#db.away();
    return away !== undefined && this.#finder.permits(away);
  }

  /** What up to 1,000 keys name, in order, in one statement. */
  findMany(domain: DomainState, keys: string[]): Promise<(Found | undefined)[]> {
    const lookUps = keys.map((key) => ({ domainId: domain.id, key }));
    return findNow(this.#db, this.#state, lookUps);
  }

  /**
   * Names an upload. A commit of the same fid again changes nothing and gets the first answer.
   * @throws Problem precondition-failed, is-a-directory, not-a-directory, upload-void, too-few-devices,
   *   class-not-found, domain-not-found, database-unavailable (the outcome may then be unknown)
   */
  async commit(upload: Upload): Promise<Committed> {
    const { domain, key } = upload;
    const committed = await this.#finder.changing(domain, [key], () => this.#committer.commit(upload));
    if (upload.devices.length < upload.class.copies) this.#wake();
    return committed;
  }

  /** Names several uploads in one transaction: all of them or none. Problems as for commit. */
  async commitAll(uploads: Upload[]): Promise<Committed[]> {
    const [first] = uploads;
    if (first === undefined) return [];
    const { domain } = first;
    const commit = () => inDomain(this.#db, domain, (tx) => this.#committer.commitAll(tx, uploads));
    return this.#finder.changing(domain, keysOf(uploads), commit);
  }

  /**
   * Names uploads and stores the answer that `answer` makes of them, for a repeat of the same request.
   * @returns the answer; `repeated` if it is a former one, and the uploads were not named
   */
  async commitOnce(
    domain: DomainState,
    uploads: Upload[],
    idempotency: Idempotency,
    answer: (committed: Committed[]) => Answer,
  ): Promise<{ answer: Answer; repeated: boolean }> {
    const commit = () =>
      inDomain(this.#db, domain, async (tx) => {
        let repeated = true;
        const given = await answerOnce(tx, domain, idempotency, async () => {
          repeated = false;
          for (const upload of uploads) {
            if (upload.precondition?.ifMatch !== undefined) await this.#committer.lockMatching(tx, upload);
          }
          return answer(await this.#committer.commitAll(tx, uploads));
        });
        return { answer: given, repeated };
      });
    return this.#finder.changing(domain, keysOf(uploads), commit);
  }

  /**
   * Puts an upload into the trash as a former version of its key; what the key holds stays as it is (past.ts).
   * @throws Problem state-conflict if the key's class keeps no trash; class-not-found, too-few-devices, upload-void
   */
  async keepPast(upload: Upload): Promise<FileEntry> {
    return inDomain(this.#db, upload.domain, (tx) => keepPast(tx, upload));
  }

  /** What lies in each directory, in few bytes: a page of directories (summaries.ts). */
  summarize(domain: DomainState, key: string, options: { limit: number; cursor?: string }) {
    return summarize(this.#db, domain, pathOfDirectory(key), options);
  }

  /** The stored first answer of a request with an Idempotency-Key, if there is one. */
  firstAnswer(domain: DomainState, idempotency: Idempotency | undefined): Promise<Answer | undefined> {
    return idempotency === undefined
      ? Promise.resolve(undefined)
      : firstAnswer(this.#db, domain, idempotency);
  }

  /** Gives up uploads that were stored but not committed: their fids are void, their replicas get removed. */
  async burn(blobs: { fid: number; devices: number[] }[]): Promise<void> {
    if (blobs.length === 0) return;
    await burnNow(this.#db, blobs);
    this.#wake();
  }

  /** Deletes a file. @throws Problem file-not-found, is-a-directory, precondition-failed */
  async remove(
    domain: DomainState,
    key: string,
    precondition?: Precondition,
    idempotency?: Idempotency,
  ): Promise<void> {
    const remove = async (tx: Queryable) => {
      await removeFile(tx, this.#state, domain, key, precondition);
      return { status: 204 };
    };
    await this.#finder.changing(domain, [key], () => this.#once(domain, idempotency, remove));
  }

  /** Changes what is kept about a file. @throws Problem file-not-found, is-a-directory, precondition-failed */
  async patch(
    domain: DomainState,
    key: string,
    change: Change,
    precondition?: Precondition,
  ): Promise<FileEntry> {
    const patch = async (tx: Queryable) =>
      entryOf(await changeFile(tx, this.#state, { domain, key, precondition }, change));
    return this.#finder.changing(domain, [key], () => inDomain(this.#db, domain, patch));
  }

  /** Copies or moves a file or a directory. @returns 201, or 200 if a file was replaced, and the entry at `to` */
  async relocate(verb: 'copy' | 'move', relocation: Relocation, idempotency?: Idempotency): Promise<Answer> {
    const { domain, from, to } = relocation;
    const once = (all: () => void) =>
      this.#once(domain, idempotency, async (tx) => {
        const [source] = await findNow(tx, this.#state, [{ domainId: domain.id, key: from }]);
        if (source === undefined) throw new Problem('file-not-found', `There is nothing at '${from}'.`);
        if (source.kind === 'directory') all();
        const created = await this.#relocateNow(tx, verb, relocation, source.kind);
        const [now] = (await findNow(tx, this.#state, [{ domainId: domain.id, key: to }])) as [Found];
        return { status: created ? 201 : 200, body: entryOf(now) };
      });
    return withCopies(this.#db, this.#wake, () => this.#finder.changing(domain, [from, to], once));
  }

  async #relocateNow(tx: Queryable, verb: 'copy' | 'move', relocation: Relocation, kind: Found['kind']) {
    if (kind === 'directory') {
      await (verb === 'copy' ? copyDirectory : moveDirectory)(tx, this.#state, relocation);
      return true;
    }
    const classOfTo = this.#state.classFor(relocation.domain, relocation.to);
    const relocateFile = verb === 'copy' ? copyFile : moveFile;
    return (await relocateFile(tx, this.#state, relocation, classOfTo)).created;
  }

  /** Makes a directory, with its parents unless `parents` is false. The key '' is the root, which is always there. */
  async makeDirectory(
    domain: DomainState,
    key: string,
    options: { parents: boolean; exclusive: boolean; idempotency?: Idempotency | undefined },
  ): Promise<{ created: boolean; entry: DirectoryEntry }> {
    const { status, body } = await this.#once(domain, options.idempotency, async (tx) => {
      await lockDomain(tx, domain);
      const path = pathOfDirectory(key);
      if (!options.parents) await requireDirectory(tx, domain, splitKey(key).path);
      const { created } = await ensureDirectory(tx, domain, path);
      if (!created && options.exclusive) {
        throw new Problem('precondition-failed', `The directory '${key}' exists.`);
      }
      const [found] = key === '' ? [] : await findNow(tx, this.#state, [{ domainId: domain.id, key }]);
      const mtime = (found?.mtime ?? domain.created).toISOString();
      return { status: created ? 201 : 200, body: { kind: 'directory', key, mtime } };
    });
    return { created: status === 201, entry: body as DirectoryEntry };
  }

  /** Removes a directory: an empty one, or with all below. @throws Problem directory-not-found, directory-not-empty */
  async removeDirectory(
    domain: DomainState,
    key: string,
    recursive: boolean,
    idempotency?: Idempotency,
  ): Promise<void> {
    const remove = async (tx: Queryable) => {
      await lockDomain(tx, domain);
      const path = pathOfDirectory(key);
      const id = await this.#directoryId(tx, domain, key);
      if (recursive) await detachTree(tx, domain, id, path);
      else if (key === '')
        throw new Problem('directory-not-empty', 'The root cannot be removed, only emptied.');
      else await removeEmpty(tx, id, key);
      return { status: 204 };
    };
    const changed = recursive ? 'all' : [];
    await this.#finder.changing(domain, changed, () => this.#once(domain, idempotency, remove));
    if (recursive) await this.#purgeSome();
    this.#wake();
  }

  /** Removes directories with all below, as one operation; those that are not there are fine. @throws Problem not-a-directory */
  async removeDirectories(domain: DomainState, keys: string[], idempotency?: Idempotency): Promise<void> {
    const remove = async (tx: Queryable) => {
      await lockDomain(tx, domain);
      // One may lie in another: it is looked up after that one went.
      for (const key of keys) {
        const id = await this.#directoryIfAny(tx, domain, key);
        if (id !== undefined) await detachTree(tx, domain, id, pathOfDirectory(key));
      }
      return { status: 204 };
    };
    await this.#finder.changing(domain, 'all', () => this.#once(domain, idempotency, remove));
    await this.#purgeSome();
    this.#wake();
  }

  /** A small tree is in the trash when the answer comes; what is left of a large one is purged in the background. */
  async #purgeSome(): Promise<void> {
    for (let i = 0; i < 4; i++) if ((await purgeDetached(this.#db, 500)) === 0) break;
  }

  /** A page of a directory: one level, or all below. @throws Problem directory-not-found, not-a-directory */
  async list(
    domain: DomainState,
    key: string,
    options: { recursive: boolean; limit: number; cursor?: string },
  ): Promise<Page> {
    const path = pathOfDirectory(key);
    const id = await this.#directoryId(this.#db, domain, key);
    if (options.recursive) return listAllBelow(this.#db, this.#state, domain, path, options);
    return listOneLevel(this.#db, this.#state, { id, path }, options);
  }

  async #directoryId(db: Queryable, domain: DomainState, key: string): Promise<number> {
    const id = await this.#directoryIfAny(db, domain, key);
    if (id === undefined) throw new Problem('directory-not-found', `There is no directory '${key}'.`);
    return id;
  }

  async #directoryIfAny(db: Queryable, domain: DomainState, key: string): Promise<number | undefined> {
    const id = await findDirectory(db, domain, pathOfDirectory(key));
    if (id !== undefined) return id;
    const [found] = key === '' ? [] : await findNow(db, this.#state, [{ domainId: domain.id, key }]);
    if (found !== undefined) throw new Problem('not-a-directory', `'${key}' is a file.`);
    return undefined;
  }

  /** Versions in the trash, page by page. */
  listTrash(domain: DomainState, options: { prefix: string; limit: number; cursor?: string }) {
    return listTrash(this.#db, domain, options);
  }

  /** The key of a version in the trash, or undefined. */
  keyOfVersion(domain: DomainState, id: number): Promise<string | undefined> {
    return keyOfVersion(this.#db, domain, id);
  }

  /** Puts a version back under its key, or `to`. What it replaces goes to the trash. @returns 201 or 200 and the entry */
  async restore(
    domain: DomainState,
    id: number,
    options: { to?: string; precondition?: Precondition },
  ): Promise<Answer> {
    const restore = () =>
      inDomain(this.#db, domain, async (tx) => {
        const { key, created } = await restoreVersion(tx, this.#state, domain, id, options);
        const [now] = (await findNow(tx, this.#state, [{ domainId: domain.id, key }])) as [Found];
        return { status: created ? 201 : 200, body: entryOf(now) };
      });
    return withCopies(this.#db, this.#wake, () => this.#finder.changing(domain, 'all', restore));
  }

  /** Makes all names of a domain what they were at a time (rewind.ts). @returns 200 with a RewindAnswer */
  async rewind(domain: DomainState, wish: RewindWish, idempotency?: Idempotency): Promise<Answer> {
    const answer = await this.#finder.changing(domain, 'all', () =>
      rewind(this.#db, domain, wish, idempotency),
    );
    this.#wake();
    return answer;
  }

  /** How far back a domain can be rewound, and what rewinds there were. */
  rewinds(domain: DomainState): ReturnType<typeof rewindsOf> {
    return rewindsOf(this.#db, domain);
  }

  /** Gives a version in the trash up. @throws Problem not-found */
  async purgeVersion(domain: DomainState, id: number): Promise<void> {
    await purgeVersion(this.#db, domain, id);
    this.#wake();
  }

  /** Gives up a page of the versions in the trash (trash.ts). */
  async purgeVersions(domain: DomainState, options: Parameters<typeof purgeVersions>[2]) {
    const purged = await purgeVersions(this.#db, domain, options);
    this.#wake();
    return purged;
  }

  #once(domain: DomainState, idempotency: Idempotency | undefined, work: (tx: Queryable) => Promise<Answer>) {
    return inDomain(this.#db, domain, (tx) => answerOnce(tx, domain, idempotency, () => work(tx)));
  }
}

function keysOf(uploads: Upload[]): string[] {
  return uploads.map(({ key }) => key);
}
