// Crash points: a process is killed at each step of each operation, or stands still there, or its disk fails. When it runs
// again, what was acknowledged is there, the rest is the old or the new, and nothing is left over. Who adds a
// `failPoint(…)` to the code adds a row here; a test below says so.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { age, strays, verifyReplicas } from '../chaos/disks.ts';
import { brokenInvariants } from '../chaos/invariants.ts';
import { useCluster } from '../support/cluster.ts';
import { type Action, FailPoints } from '../support/fail-points.ts';
import { filesOf, sha256 } from '../support/files.ts';
import { waitFor } from '../support/wait.ts';
import { type Operation, operations, type Stage } from './operations.ts';

type Row = [point: string, operation: keyof typeof operations, action?: Action];

const rows: Row[] = [
  ['node-write', 'replacing a file'],
  ['node-written', 'replacing a file'],
  ['node-linked', 'replacing a file'],
  ['node-synced', 'replacing a file by a large one'],
  ['node-written', 'replacing a file by a large one'],
  ['node-linked', 'replacing a file by a large one', 'EIO'],
  ['node-written', 'replacing a file', 'stop'],
  ['node-directory-made', 'creating a file in a new directory'],
  ['tracker-directories-made', 'creating a file in a new directory'],
  ['tracker-stored', 'replacing a file'],
  ['tracker-committed', 'replacing a file'],
  ['tracker-commit-open', 'replacing a file by a request that can be repeated'],
  ['node-written', 'a direct upload'],
  ['node-synced', 'a large direct upload'],
  ['node-linked', 'a large direct upload'],
  ['tracker-committed', 'a direct upload'],
  ['sweep-burned', 'an upload that nobody commits'],
  ['sweep-given-up', 'an upload that nobody commits'],
  ['node-written', 'copying what lost a replica'],
  ['node-synced', 'copying a large file that lost a replica'],
  ['repair-claimed', 'copying what lost a replica'],
  ['repair-copied', 'copying what lost a replica'],
  ['repair-copied', 'copying what lost a replica', 'stop'],
  ['repair-added', 'copying what lost a replica'],
  ['repair-settling', 'copying what lost a replica'],
  ['repair-copied', 'draining a device'],
  ['repair-added', 'draining a device'],
  ['trim-open', 'draining a device'],
  ['remover-permitted', 'draining a device'],
  ['reaper-open', 'removing a deleted file'],
  ['reaper-done', 'removing a deleted file'],
  ['remover-permitted', 'removing a deleted file'],
  ['remover-permitted', 'removing a deleted file', 'stop'],
  ['node-unlinked', 'removing a deleted file'],
  ['node-unlink-synced', 'removing a deleted file'],
  ['remover-ordered', 'removing a deleted file'],
  // Last, for the device stays dead.
  ['dead-walk-open', 'a device that is declared dead'],
];

/** Reading changes nothing: what becomes of errors there is shown by storage-node/scrub.test.ts and device.test.ts. */
const READING = ['node-read', 'node-volume-read'];
/** What goes on in volumes without anybody waiting for it: volumes.test.ts. */
const IN_VOLUMES = ['node-slots-synced', 'node-compacted', 'node-volume-moved'];

const points = new FailPoints();
const cluster = useCluster(
  points.into({
    trackers: 2,
    devices: 1,
    env: {
      tracker: {
        CISTERN_REAP_AFTER_SECONDS: '0',
        CISTERN_SWEEP_AFTER_SECONDS: '5',
        CISTERN_SWEEP_EVERY_SECONDS: '1',
      },
      node: { CISTERN_CACHE_BYTES: '0' },
    },
  }),
);
let db: pg.Pool;
beforeAll(async () => {
  db = new pg.Pool({ connectionString: cluster().database });
  const made = await cluster().request('PUT', '/v1/domains/demo/classes/default', {
    token: cluster().adminToken,
    body: { trash: false },
  });
  expect(made.status).toBeLessThan(300);
});
afterAll(async () => {
  await db?.end();
  points.remove();
});

/** Waits until nothing is left to be done or removed; what would make it wait for long is made old. */
async function quiet(): Promise<void> {
  const look = async () => {
    await age(db);
    // Of a worker that is gone.
    await db.query('UPDATE repair SET leased_until = now() WHERE leased_until > now()');
    const { rows: left } = await db.query(
      `SELECT 1 FROM locations WHERE state <> 'good' UNION ALL SELECT 1 FROM reap UNION ALL SELECT 1 FROM repair`,
    );
    const found = await strays(cluster(), db);
    if (left.length + found.length > 0) throw new Error([`${left.length} rows wait`, ...found].join('; '));
    return true;
  };
  await waitFor(look, { what: 'nothing to be left over', timeout: 60_000, every: 200 });
}

test.each(rows.map(([point, operation, action = 'kill']) => ({ point, operation, action })))(
  '$action at $point: $operation',
  async ({ point, operation, action }) => {
    const { prepare, run, undo } = operations[operation] as Operation;
    const key = operation.includes('new directory')
      ? `${point}/in a new directory`
      : `${point} ${action} ${operation}`;
    const stage: Stage = { cluster: cluster(), db, key };
    await prepare?.(stage);
    // A node makes sure of its directories once in its life.
    if (point === 'node-directory-made') await Promise.all(cluster().nodes.map((node) => node.restart()));
    await cluster().ready();
    await quiet();
    points.arm(point, action);
    const outcome = run(stage);
    outcome.catch(() => {});
    const part = await points.struck(cluster(), point);
    if (action === 'kill') await part.kill();
    if (action === 'stop') {
      // The others go on without it; then it wakes up, in the middle of what it was about to do.
      await outcome;
      if (part.name.startsWith('tracker')) await quiet();
      await part.kill('SIGCONT');
    } else {
      if (action !== 'kill') await outcome;
      await part.restart();
    }
    const may = await outcome;
    points.reset();
    await cluster().ready();
    await quiet();
    for (const tracker of cluster().trackers.keys()) {
      const answer = await filesOf(cluster).get(key, { tracker });
      const holds = answer.status === 200 ? sha256(await answer.bytes()) : null;
      expect(answer.status).toBe(holds === null ? 404 : 200);
      expect(may).toContain(holds);
    }
    await undo?.(stage);
    expect(await brokenInvariants(db)).toEqual([]);
    expect((await verifyReplicas(cluster(), db)).wrong).toEqual([]);
  },
  240_000,
);

// Those of backup and restore are in recovery.test.ts.
test('every fail point of the code has a row', () => {
  const root = join(import.meta.dirname, '../..');
  const sources = ['services', 'storage-node', 'tracker'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
      .map((name) => readFileSync(join(root, folder, name), 'utf8')),
  );
  const coded = sources.flatMap((text) =>
    [...text.matchAll(/failPoint\('(?!backup-|restore-)([\w-]+)'\)/g)].map(([, name]) => name),
  );
  const covered = [...rows.map(([point]) => point), ...READING, ...IN_VOLUMES];
  expect([...new Set(covered)].sort()).toEqual([...new Set(coded)].sort());
});
