// One chaos run: actors write and read while trackers and storage nodes are killed; then everything is healed, and
// every promise is looked after.
import pg from 'pg';
import type { Cluster, ClusterOptions } from '../support/cluster.ts';
import type { EmbeddedServer } from '../support/embedded-postgres.ts';
import { lookAfter } from './aftermath.ts';
import { crashEverything, harmNodes, killDatabase, killTrackers, pause } from './faults.ts';
import { Losses } from './losses.ts';
import type { Network } from './network.ts';
import { Race } from './racers.ts';
import { Random } from './random.ts';
import { Room } from './rooms.ts';
import { World } from './world.ts';

/** The cluster that a run wants: graces so short that reaping and sweeping go on all the time. */
export const chaosCluster: ClusterOptions = {
  trackers: 2,
  nodes: 3,
  devices: 2,
  env: {
    tracker: {
      CISTERN_REAP_AFTER_SECONDS: '0.5',
      CISTERN_SWEEP_AFTER_SECONDS: '4',
      CISTERN_SWEEP_EVERY_SECONDS: '1',
    },
    // Everything is scrubbed every few seconds, and volumes are so small that they are filled and compacted.
    node: { CISTERN_SCRUB_DAYS: '0.0001', CISTERN_VOLUME_BYTES: '1048576' },
  },
};

/** Every other room's versions do not go to the trash, so their blobs are reaped during the run. */
const ROOMS = ['kept-0', 'gone-1', 'kept-2', 'gone-3', 'kept-4'];
const NO_TRASH = { trash: false, prefixes: ['gone-', 'hot/'] };
const RACERS = ['racer 0', 'racer 1', 'racer 2', 'racer 3'];

export interface ChaosResult {
  /** Promises that were broken, in words; none if all is well. */
  violations: string[];
  /** How often what was done or happened. */
  counts: Record<string, number>;
}

export interface ChaosOptions {
  /** The same seed makes the same choices. */
  seed: string;
  seconds: number;
  /** On a slow machine it goes on until each of these was counted. */
  until?: string[];
  /** The cluster's own PostgreSQL, which is killed too. */
  server?: EmbeddedServer;
  /** What the cluster's parts speak through, which fails too. */
  network?: Network;
  /** Not now this and then that: everything is killed at one instant, again and again. */
  everything?: true;
}

/** Runs actors and faults for some time, and looks at what is left. */
export async function runChaos(cluster: Cluster, options: ChaosOptions): Promise<ChaosResult> {
  const { seed } = options;
  const db = new pg.Pool({ connectionString: cluster.database });
  // A test may kill the database under it.
  db.on('error', () => {});
  const world = new World(cluster, db, options.network);
  try {
    const made = await cluster.request('PUT', '/v1/domains/demo/classes/fleeting', {
      token: cluster.adminToken,
      body: NO_TRASH,
    });
    if (!made.ok) throw new Error(`the class was refused: ${await made.text()}`);
    const rooms = ROOMS.map((name) => new Room(world, name, new Random(`${seed}/${name}`)));
    const race = new Race(world);
    const losses = new Losses(world, new Random(`${seed}/losses`));
    await act(world, rooms, race, losses, options);
    if (world.violations.length === 0) {
      world.begins('waiting until all is mended');
      await cluster.ready();
      if (!(await losses.mended())) world.violation('what the disks lost was not mended in a minute');
      await lookAfter(world, rooms, race, new Random(`${seed}/aftermath`));
    }
    return { violations: world.violations, counts: Object.fromEntries([...world.counts].sort()) };
  } finally {
    await world.close();
    await db.end();
  }
}

async function act(
  world: World,
  rooms: Room[],
  race: Race,
  losses: Losses,
  options: ChaosOptions,
): Promise<void> {
  const { seed } = options;
  const ending = new AbortController();
  const { signal } = ending;
  const of = (name: string) => new Random(`${seed}/${name}`);
  const acting = Promise.all([
    ...rooms.map((room) => room.run(signal)),
    ...RACERS.map((name) => race.run(name, of(name), signal)),
  ]);
  const failing = Promise.all(failures(world, losses, options, of, signal));
  try {
    await Promise.race([enough(world, options, signal), acting, failing]);
  } finally {
    // Each fault ends as it was meant to; after that, who waits for an answer must get it.
    ending.abort();
    await failing;
    await acting;
  }
}

/** All that goes wrong at the same time. */
function failures(
  world: World,
  losses: Losses,
  { server, network, everything }: ChaosOptions,
  of: (name: string) => Random,
  signal: AbortSignal,
): Promise<void>[] {
  if (everything && server) return [crashEverything(world, server, of('crashes'), signal)];
  return [
    killTrackers(world, of('trackers'), signal),
    harmNodes(world, of('nodes'), signal),
    losses.run(signal),
    ...(network ? [network.fail(world, of('network'), signal)] : []),
    ...(server ? [killDatabase(world, server, of('database'), signal)] : []),
  ];
}

async function enough(
  world: World,
  { seconds, until = [] }: ChaosOptions,
  signal: AbortSignal,
): Promise<void> {
  await pause(seconds * 1000, signal);
  while (until.some((what) => !world.counts.has(what)) && world.violations.length === 0) {
    if (!(await pause(200, signal))) return;
  }
}
