// The tracker's part in backups: looks every so often whether one is due, and tells how old the newest is.
import pg from 'pg';
import { Gauge } from 'prom-client';
import type { HttpMetrics } from '../../services/metrics.ts';
import { Problem } from '../../services/problems.ts';
import type { Statement } from '../database/database.ts';
import { Loop } from '../replication/loop.ts';
import {
  type Backup,
  type BackupParts,
  backUp,
  backUpIfDue,
  openBackup,
  recordedBackups,
} from './backups.ts';

const LOOK_SECONDS = 30;

// A cluster that is younger than two intervals need not have one.
const lookAtNewest: Statement = {
  name: 'backups-newest',
  text: `SELECT newest, $1::float8 > 0 AND coalesce(newest, created) < now() - 2 * $1::float8 * interval '1 second' AS overdue
    FROM (SELECT created, (SELECT max(at) FROM backups) AS newest FROM cluster WHERE only_row) AS seen`,
};

export class BackupSchedule {
  readonly #parts: BackupParts;
  readonly #loop: Loop;

  constructor({ metrics, ...parts }: Omit<BackupParts, 'connect'> & { metrics: HttpMetrics }) {
    const { db, log, config } = parts;
    const connect = async () => {
      const url = db.standing?.url;
      if (url === undefined) throw new Problem('database-unavailable');
      const client = new pg.Client({
        connectionString: url,
        application_name: 'cistern-backup',
        keepAlive: true,
      });
      client.on('error', () => undefined);
      await client.connect();
      return client;
    };
    this.#parts = { ...parts, connect };
    const pause = Math.min(LOOK_SECONDS, Math.max(config.CISTERN_BACKUP_EVERY_SECONDS / 4, 0.2));
    this.#loop = new Loop({ name: 'backup', log, pause, work: (signal) => this.#look(signal) });
    measureAge(metrics, parts.db);
  }

  start(): void {
    if (this.#parts.config.CISTERN_BACKUP_EVERY_SECONDS > 0) this.#loop.start();
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  /** Makes a backup now. @throws Problem too-few-devices, database-unavailable */
  now(): Promise<Backup> {
    return backUp(this.#parts);
  }

  /** Newest first. */
  list(): Promise<Backup[]> {
    return recordedBackups(this.#parts.db);
  }

  /** The instant of the newest backup, and whether it is older than it may be. */
  async standing(): Promise<{ newest: Date | null; overdue: boolean }> {
    const every = this.#parts.config.CISTERN_BACKUP_EVERY_SECONDS;
    const [row] = await this.#parts.db.query<{ newest: Date | null; overdue: boolean }>(lookAtNewest, [
      every,
    ]);
    return row ?? { newest: null, overdue: false };
  }

  /** @throws Problem not-found, no-good-replica */
  open(name: string) {
    return openBackup(this.#parts, name);
  }

  async #look(signal: AbortSignal): Promise<boolean> {
    await backUpIfDue(this.#parts, signal);
    return false;
  }
}

function measureAge({ registry }: HttpMetrics, db: BackupParts['db']): Gauge {
  return new Gauge({
    name: 'cistern_backup_age_seconds',
    help: 'How old the newest backup of the database is; absent as long as there is none',
    registers: [registry],
    async collect() {
      this.reset();
      const [newest] = await recordedBackups(db).catch(() => []);
      if (newest !== undefined) this.set((Date.now() - newest.at.getTime()) / 1000);
    },
  });
}
