// A fresh cluster for each suite: `cistern up` in a directory of its own, which is removed afterwards. It is the same
// that `npm start` brings up, with its settings as they are.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import pg from 'pg';
import type { Running, Secrets } from '../../ops/up/state.ts';
import type { Target } from '../load/jobs.ts';
import { type Part, partsOf } from './processes.ts';

const COMMAND = new URL('../../ops/main.ts', import.meta.url).pathname;

export interface Cluster extends Omit<Running, 'pid'> {
  clusterKey: string;
  /** For load jobs: the tracker, and the demo domain with its token. */
  target: Target;
  /** Its processes, by what they are. */
  parts: Part[];
  /** Asks the database. */
  sql<Row extends object>(text: string, values?: unknown[]): Promise<Row[]>;
  /** Allocates `count` fids, as trackers do; returns the first. */
  takeFids(count: number): Promise<number>;
}

/**
 * Runs `work` with a cluster that keeps its state in `directory` (which must not exist). The state stays: removing so
 * many files would slow the disk down for what is measured next, so the caller does that at the end.
 */
export async function withCluster<T>(directory: string, work: (cluster: Cluster) => Promise<T>): Promise<T> {
  mkdirSync(directory, { recursive: true, mode: 0o711 });
  const args = [COMMAND, 'up', '--state', directory, '--port', '0', '--json'];
  const up = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  up.stderr.on('data', (chunk) => {
    said = `${said}${chunk}`.slice(-2000);
  });
  const ended = once(up, 'exit');
  const stop = () => up.kill('SIGTERM');
  process.once('exit', stop);
  try {
    const lines = createInterface({ input: up.stdout });
    const failed = ended.then(() => {
      throw new Error(`the cluster did not start: ${said.trim()}`);
    });
    failed.catch(() => {});
    const [line] = (await Promise.race([once(lines, 'line'), failed])) as [string];
    return await useCluster(JSON.parse(line) as Running, directory, up.pid as number, work);
  } finally {
    stop();
    await ended;
    process.off('exit', stop);
  }
}

async function useCluster<T>(
  running: Running,
  directory: string,
  pid: number,
  work: (cluster: Cluster) => Promise<T>,
): Promise<T> {
  const { clusterKey, adminToken } = JSON.parse(readFileSync(`${directory}/secrets.json`, 'utf8')) as Secrets;
  const { tracker, domain, token } = running;
  const database = new pg.Client({ connectionString: running.database });
  await database.connect();
  const sql = async <Row extends object>(text: string, values: unknown[] = []) =>
    (await database.query<Row>(text, values)).rows;
  try {
    return await work({
      ...running,
      clusterKey,
      adminToken,
      target: { tracker, domain, token },
      parts: partsOf(pid),
      sql,
      async takeFids(count) {
        const [row] = await sql<{ first: string }>(
          'UPDATE cluster SET next_fid = next_fid + $1 RETURNING next_fid - $1 AS first',
          [count],
        );
        return Number(row?.first);
      },
    });
  } finally {
    await database.end();
  }
}
