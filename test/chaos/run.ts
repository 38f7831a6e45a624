// One chaos run: actors write and read while trackers and storage nodes are killed; then everything is healed, and
// every promise is looked after.
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Cluster, ClusterOptions } from '../support/cluster.ts';
import type { EmbeddedServer } from '../support/shared-postgres.ts';
import { lookAfter } from './aftermath.ts';
import { crashEverything, harmNodes, killTrackers } from './faults.ts';
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
  /** The cluster's own PostgreSQL: then it is not parts that are killed, but everything at one instant. */
  server?: EmbeddedServer;
}

/** Runs actors and faults for some time, and looks at what is left. */
export async function runChaos(cluster: Cluster, options: ChaosOptions): Promise<ChaosResult> {
  const { seed } = options;
  const db = new pg.Pool({ connectionString: cluster.database });
  // A test may kill the database under it.
  db.on('error', () => {});
  const world = new World(cluster, db);
  try {
    const made = await cluster.request('PUT', '/v1/domains/demo/classes/fleeting', {
      token: cluster.adminToken,
      body: NO_TRASH,
    });
    if (!made.ok) throw new Error(`the class was refused: ${await made.text()}`);
    const rooms = ROOMS.map((name) => new Room(world, name, new Random(`${seed}/${name}`)));
    const race = new Race(world);
    await act(world, rooms, race, options);
    if (world.violations.length === 0) {
      await cluster.ready();
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
  { seed, seconds, server }: ChaosOptions,
): Promise<void> {
  const ending = { actors: new AbortController(), faults: new AbortController() };
  const of = (name: string) => new Random(`${seed}/${name}`);
  const acting = Promise.all([
    ...rooms.map((room) => room.run(ending.actors.signal)),
    ...RACERS.map((name) => race.run(name, of(name), ending.actors.signal)),
  ]);
  const { signal } = ending.faults;
  const failing = server
    ? crashEverything(world, server, of('crashes'), signal)
    : Promise.all([killTrackers(world, of('trackers'), signal), harmNodes(world, of('nodes'), signal)]);
  try {
    const time = sleep(seconds * 1000, undefined, { signal: ending.actors.signal }).catch(() => {});
    await Promise.race([time, acting, failing]);
    ending.actors.abort();
    // Actors that wait for an answer must get it while the faults go on.
    await acting;
  } finally {
    ending.actors.abort();
    ending.faults.abort();
    await failing;
  }
}
