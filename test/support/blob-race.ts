// What scripted races for one blob share: a namespace, a file in it whose blob has copies on devices 1 and 2, and a
// second session.
import type pg from 'pg';
import { afterAll, beforeAll, beforeEach } from 'vitest';
import type { Statement } from '../../tracker/database/database.ts';
import { openNamespace, type TestNamespace } from './namespace.ts';
import { blocked } from './script.ts';

/** What names a blob once more, in the other session: its parameters are name, fid and class. */
export const nameIt = `INSERT INTO names (dir_id, name, fid, class_id)
  SELECT d.id, $1, $2, c.id FROM dirs d JOIN classes c ON c.domain_id = d.domain_id
  WHERE d.path = '' AND c.name = $3`;

export class BlobRace {
  ns!: TestNamespace;
  /** The other session. */
  other!: pg.Client;
  /** The file, and its blob: new for each test, alone in the queues. */
  key = '';
  fid = 0;
  #files = 0;

  async open(): Promise<void> {
    this.ns = await openNamespace();
    this.other = await this.ns.connect();
    await this.ns.sql(`UPDATE classes SET trash = false`);
    await this.ns.sql(
      `INSERT INTO classes (domain_id, name, copies, min_copies) SELECT id, 'three', 3, 2 FROM domains`,
    );
    await this.ns.state.refresh();
  }

  async newFile(): Promise<void> {
    await this.ns.sql(`UPDATE devices SET state = 'alive'`);
    await this.ns.sql('TRUNCATE repair, reap');
    this.key = `file-${++this.#files}`;
    const upload = this.ns.upload(this.key);
    this.fid = upload.fid;
    await this.ns.namespace.commit(upload);
  }

  /** Runs one of our statements in the other session. */
  also = async (statement: Statement, values: unknown[]) =>
    (await this.other.query(statement.text, values)).rows;

  /** Resolves when a session waits for a lock: the interleaving has reached the point where it must wait. */
  waits = () => blocked(this.ns);

  blobState = async () =>
    (await this.ns.sql<{ state: string }>('SELECT state FROM blobs WHERE fid = $1', [this.fid]))[0]?.state;

  queued = async () => (await this.ns.sql('SELECT FROM repair WHERE fid = $1', [this.fid])).length > 0;

  /** 'device:state' of each location. */
  places = async () =>
    (
      await this.ns.sql<{ place: string }>(
        `SELECT device_id || ':' || state AS place FROM locations WHERE fid = $1 ORDER BY device_id`,
        [this.fid],
      )
    ).map(({ place }) => place);
}

/** A race for the tests of a file; each test has a new blob. */
export function useBlobRace(): BlobRace {
  const race = new BlobRace();
  beforeAll(() => race.open());
  afterAll(() => race.ns.close());
  beforeEach(() => race.newFile());
  return race;
}
