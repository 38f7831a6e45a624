// A namespace on a database of its own, with hosts and devices that exist as rows only: enough for all that happens
// between a name and its locations.
import { createHash } from 'node:crypto';
import pg from 'pg';
import { pino } from 'pino';
import { createDomain } from '../../tracker/cluster/domains.ts';
import { ClusterState, type DomainState } from '../../tracker/cluster/state.ts';
import { Database } from '../../tracker/database/database.ts';
import { migrate } from '../../tracker/database/migrate.ts';
import { Namespace } from '../../tracker/namespace/namespace.ts';
import type { Upload } from '../../tracker/namespace/types.ts';
import { createDatabase } from './postgres.ts';

export interface TestNamespace {
  url: string;
  db: Database;
  state: ClusterState;
  namespace: Namespace;
  domain: DomainState;
  /** An upload of `text` to `key`, stored on devices 1 and 2 unless told otherwise, not committed yet. */
  upload(key: string, text?: string, more?: Partial<Upload>): Upload;
  /** Runs SQL on a connection of its own: to look, or to be the other session of a race. */
  connect(): Promise<pg.Client>;
  sql<Row extends object>(text: string, values?: unknown[]): Promise<Row[]>;
  close(): Promise<void>;
}

/** Opens a namespace with the domain 'demo', and devices 1 to 3 on the hosts h1 to h3. */
export async function openNamespace(): Promise<TestNamespace> {
  const database = await createDatabase();
  await migrate(database.url);
  const log = pino({ level: 'silent' });
  const db = new Database({ url: database.url, max: 8, log });
  const admin = new pg.Client({ connectionString: database.url });
  await admin.connect();
  await admin.query(`
    INSERT INTO hosts (name, url, session) SELECT 'h' || n, 'http://127.0.0.1:' || n, 'session-of-host-' || n
      FROM generate_series(1, 3) n;
    INSERT INTO devices (id, host_id, uuid) SELECT id, id, gen_random_uuid() FROM hosts;
    INSERT INTO heartbeats (host_id) SELECT id FROM hosts`);
  await createDomain(db, 'demo', 30);
  const state = await ClusterState.open({ db, log, downSeconds: 10, stateSeconds: 60 });
  const { id } = await state.domain('demo');
  const current = () => state.domainById(id) as DomainState;
  const clients: pg.Client[] = [admin];
  let fid = 0;
  return {
    url: database.url,
    db,
    state,
    // The snapshot changes when classes do.
    get domain() {
      return current();
    },
    namespace: new Namespace(db, state, () => {}),
    upload(key, text = key, more = {}) {
      const sha256 = createHash('sha256').update(text).digest('hex');
      const size = Buffer.byteLength(text);
      const domain = current();
      const chosen = state.classFor(domain, key);
      fid += 1;
      return {
        domain,
        key,
        fid,
        class: chosen,
        size,
        sha256,
        contentType: 'text/plain',
        devices: [1, 2],
        ...more,
      };
    },
    async connect() {
      const client = new pg.Client({ connectionString: database.url });
      await client.connect();
      clients.push(client);
      return client;
    },
    async sql(text, values) {
      return (await admin.query(text, values)).rows;
    },
    async close() {
      state.stop();
      await db.close();
      for (const client of clients) await client.end();
      await database.drop();
    },
  };
}
