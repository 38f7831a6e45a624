// Which trackers serve this cluster: each says so every few seconds, in a row of its own.
import { randomUUID } from 'node:crypto';
import { delay } from '../../services/lifecycle.ts';
import type { Logger } from '../../services/logging.ts';
import type { Database, Statement } from '../database/database.ts';
import { VERSION } from '../version.ts';

const EVERY_MS = 5_000;

const sayPresent: Statement = {
  name: 'say-present',
  text: `WITH old AS (DELETE FROM trackers WHERE seen < now() - interval '1 day' AND id <> $1)
    INSERT INTO trackers (id, url, version) VALUES ($1, $2, $3)
    ON CONFLICT (id) DO UPDATE SET seen = now(), url = excluded.url`,
};
const sayGone: Statement = { name: 'say-gone', text: 'DELETE FROM trackers WHERE id = $1' };
const listPresent: Statement = {
  name: 'list-present',
  text: `SELECT id, url, version, seen FROM trackers WHERE seen > now() - interval '1 minute' ORDER BY url, id`,
};

export interface TrackerRow {
  id: string;
  url: string;
  version: string;
  seen: Date;
}

export class Presence {
  /** This run of this tracker. */
  readonly id = randomUUID();
  readonly #db: Database;
  readonly #log: Logger;
  readonly #stopping = new AbortController();
  #saying: Promise<void> | undefined;

  constructor(db: Database, log: Logger) {
    this.#db = db;
    this.#log = log;
  }

  /** From now on the tracker is listed, at `url`. */
  start(url: string): void {
    this.#saying = this.#say(url);
  }

  /** All trackers that were there within the last minute. */
  list(): Promise<TrackerRow[]> {
    return this.#db.query<TrackerRow>(listPresent);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#saying;
    // If the database is away, the row grows old by itself.
    if (this.#saying) await this.#db.query(sayGone, [this.id]).catch(() => undefined);
  }

  async #say(url: string): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        await this.#db.query(sayPresent, [this.id, url, VERSION]);
      } catch (err) {
        this.#log.debug({ err }, 'the tracker could not be listed');
      }
      await delay(EVERY_MS, signal);
    }
  }
}
