// After a chaos run: is all that was acknowledged there, is nothing else there, has every file its copies, and is
// nothing left over?
import { createHash } from 'node:crypto';
import pLimit from 'p-limit';
import type { Cluster } from '../support/cluster.ts';
import { runCistern } from '../support/command.ts';
import { waitFor } from '../support/wait.ts';
import { age, strays, verifyReplicas } from './disks.ts';
import { brokenInvariants } from './invariants.ts';
import type { Race } from './racers.ts';
import type { Random } from './random.ts';
import type { Room } from './rooms.ts';
import { difference, type Tree } from './tree.ts';
import { fileUrl, type World } from './world.ts';

const CLEAN_MS = 60_000;
const PAGE = 100;
const READS_AT_ONCE = 8;

/** Looks from all sides; what is wrong is noted as a violation. All parts run, and no actor acts any more. */
export async function lookAfter(world: World, rooms: Room[], race: Race, random: Random): Promise<void> {
  const { cluster, db } = world;
  world.begins('judging the histories');
  const hot = await race.judge(random);
  const wanted = new Map<string, string | null>(hot);
  if (race.histories.size > 0) wanted.set('hot', null);
  for (const room of rooms) {
    wanted.set(room.name, null);
    for (const [path, value] of room.tree) wanted.set(`${room.name}/${path}`, value);
  }
  world.begins('listing');
  for (const tracker of cluster.trackers.keys()) {
    const wrong = difference(wanted, await listAll(cluster, tracker));
    if (wrong !== undefined)
      world.violation(`tracker ${tracker + 1} does not show what was acknowledged: ${wrong}`);
  }
  world.begins('reading all files');
  await readAll(world, wanted);
  world.begins('repair, clean-up and fsck');
  await ends0(world, 'repair', '--json', '--patience', '30');
  await cleanedUp(world);
  await ends0(world, 'fsck', '--verify', '--json');
  world.begins('verifying replicas and invariants');
  const { verified, wrong } = await verifyReplicas(cluster, db);
  world.counts.set('replicas verified', verified);
  for (const text of [...wrong, ...(await brokenInvariants(db))]) world.violation(text);
}

/** Everything that a tracker lists, page by page. */
async function listAll(cluster: Cluster, tracker: number): Promise<Tree> {
  const tree = new Map<string, string | null>();
  for (let cursor = ''; ; ) {
    const query = `recursive=true&limit=${PAGE}${cursor}`;
    const answer = await cluster.request('GET', `/v1/domains/demo/directories/?${query}`, { tracker });
    const page = (await answer.json()) as {
      entries: { key: string; kind: string; sha256?: string }[];
      next?: string;
    };
    for (const { key, kind, sha256 } of page.entries) tree.set(key, kind === 'file' ? (sha256 ?? '') : null);
    if (page.next === undefined) return tree;
    cursor = `&cursor=${encodeURIComponent(page.next)}`;
  }
}

/** Reads each file from each tracker. */
async function readAll(world: World, tree: Tree): Promise<void> {
  const limit = pLimit(READS_AT_ONCE);
  const files = [...tree].flatMap(([key, sha256]) => (sha256 === null ? [] : [{ key, sha256 }]));
  for (const tracker of world.cluster.trackers.keys()) {
    await limit.map(files, ({ key, sha256 }) => readOne(world, tracker, key, sha256));
  }
}

async function readOne(world: World, tracker: number, key: string, sha256: string): Promise<void> {
  const read = () => world.cluster.request('GET', fileUrl(key), { tracker });
  let answer = await read();
  // A machine that stood still for seconds makes nodes look hung; the file must be there when that is over.
  const settled = async () => {
    if (answer.status === 503) answer = await read();
    return answer.status !== 503;
  };
  await waitFor(settled, { what: key, timeout: CLEAN_MS, every: 500 }).catch(() => {});
  const bytes = Buffer.from(await answer.arrayBuffer());
  const digest = createHash('sha256').update(bytes).digest('hex');
  world.count('files read at the end');
  if (answer.status === 200 && digest === sha256) return;
  world.violation(`tracker ${tracker + 1} answered ${answer.status} with bytes of ${digest} for '${key}'`);
}

/** The operator's command must end well: `repair` if every file has its copies, `fsck` if nothing is to be found. */
async function ends0(world: World, ...command: string[]): Promise<void> {
  const { cluster } = world;
  const env = { CISTERN_URL: cluster.trackers[0]?.url ?? '', CISTERN_TOKEN: cluster.adminToken };
  const { code, stdout, stderr } = await runCistern(command, { env });
  if (code !== 0)
    world.violation(`cistern ${command[0]} ended with ${code}: ${stderr}${stdout.slice(-2_000)}`);
}

/** What no file needs must go from disks and tables. */
async function cleanedUp(world: World): Promise<void> {
  const { cluster, db } = world;
  let left: string[] = [];
  const clean = async () => {
    await age(db);
    const { rows } = await db.query(
      `SELECT 'a replica is still to be removed' AS what FROM locations WHERE state = 'removing'
        UNION ALL SELECT 'an un-named blob was not reaped' FROM reap
        UNION ALL SELECT 'a repair is queued: ' || coalesce(why, 'it waits for its turn') FROM repair`,
    );
    left = [...rows.map(({ what }) => what as string), ...(await strays(cluster, db))];
    return left.length === 0;
  };
  await waitFor(clean, { what: 'disks and tables to be clean', timeout: CLEAN_MS, every: 500 }).catch(() => {
    world.violation(`left over (${left.length}): ${left.slice(0, 5).join('; ')}`);
  });
}
