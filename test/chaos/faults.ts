// What goes wrong during a chaos run: trackers and storage nodes are killed and stand still, at random; or everything
// is killed at one instant, the database too.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Part } from '../support/cluster.ts';
import type { EmbeddedServer } from '../support/embedded-postgres.ts';
import { waitFor } from '../support/wait.ts';
import type { Random } from './random.ts';
import type { World } from './world.ts';

/** Kills trackers until `signal` is aborted; all run when it returns. */
export async function killTrackers(world: World, random: Random, signal: AbortSignal): Promise<void> {
  const { trackers } = world.cluster;
  while (await pause(random.between(2_000, 6_000), signal)) {
    const victims = random.chance(0.15) ? trackers : [random.pick(trackers)];
    const away = random.between(0, 1_000);
    const kill = (tracker: Part) => world.alone([tracker], () => killTracker(world, tracker, away));
    await Promise.all(victims.map(kill));
  }
}

/** Kills a tracker, waits until the database is done with it, and starts it again after a while (milliseconds). */
export async function killTracker(world: World, tracker: Part, away = 0): Promise<void> {
  world.count('tracker killed');
  await tracker.kill('SIGKILL');
  // The database may still be at what the dead tracker asked for last.
  await waitFor(
    async () => {
      const { rows } = await world.db.query(
        'SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1',
        [tracker.name],
      );
      return rows.length === 0;
    },
    { what: `the sessions of ${tracker.name} to end`, timeout: 60_000 },
  );
  ended(world, tracker);
  await sleep(away);
  // Without a database it gives up after a while.
  const started = () => tracker.start().then(() => true);
  await waitFor(started, { what: `${tracker.name} to start`, timeout: 120_000 });
}

/** A tracker was killed, and the database is done with it. */
function ended(world: World, tracker: Part): void {
  const index = world.cluster.trackers.indexOf(tracker);
  world.lives[index] = (world.lives[index] as number) + 1;
}

/** Kills all processes at once, as when the power fails, and starts them again, until `signal` is aborted. */
export async function crashEverything(
  world: World,
  server: EmbeddedServer,
  random: Random,
  signal: AbortSignal,
): Promise<void> {
  const { trackers, nodes } = world.cluster;
  const parts = [...trackers, ...nodes];
  while (await pause(random.between(1_000, 4_000), signal)) {
    await world.alone(parts, async () => {
      await Promise.all([server.kill(), ...parts.map((part) => part.kill('SIGKILL'))]);
      world.count('everything killed');
      // What the database had committed of the trackers' last wishes, it has; the rest is gone.
      await server.start();
      for (const tracker of trackers) ended(world, tracker);
      await Promise.all(parts.map((part) => part.start()));
    });
    await world.cluster.ready();
  }
}

/** Kills PostgreSQL now and then until `signal` is aborted; it runs when this returns. */
export async function killDatabase(
  world: World,
  server: EmbeddedServer,
  random: Random,
  signal: AbortSignal,
): Promise<void> {
  while (await pause(random.between(5_000, 20_000), signal)) {
    world.count('database killed');
    await server.kill();
    await sleep(random.between(0, 3_000));
    await server.start();
  }
}

/** Kills and stops storage nodes until `signal` is aborted; all run when it returns. */
export async function harmNodes(world: World, random: Random, signal: AbortSignal): Promise<void> {
  const { nodes } = world.cluster;
  while (await pause(random.between(500, 4_000), signal)) {
    const victims = random.chance(0.2) ? nodes.filter(() => random.chance(0.6)) : [random.pick(nodes)];
    const deed = random.weighted({ kill: 7, stop: 3 });
    const away = random.between(0, 3_000);
    for (const _ of victims) world.count(deed === 'kill' ? 'node killed' : 'node stood still');
    await Promise.all(
      victims.map((node) =>
        world.alone([node], async () => {
          await node.kill(deed === 'kill' ? 'SIGKILL' : 'SIGSTOP');
          await sleep(away);
          if (deed === 'kill') await node.start();
          else await node.kill('SIGCONT');
        }),
      ),
    );
  }
}

/** Waits; false if `signal` was aborted. */
export async function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  await sleep(ms, undefined, { signal }).catch(() => {});
  return !signal.aborted;
}
