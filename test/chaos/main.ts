// `npm run chaos -- --seed S --minutes M`: a chaos run for as long as one likes, on a cluster and a PostgreSQL of its own.
import { Command } from 'commander';
import { startCluster } from '../support/cluster.ts';
import { createDatabaseOn, EmbeddedServer } from '../support/postgres.ts';
import { Network } from './network.ts';
import { chaosCluster, runChaos } from './run.ts';

const options = new Command('chaos')
  .description(
    'Let processes, disks, the network and the database fail while clients write; then see whether every promise was kept.',
  )
  .option('--seed <text>', 'repeats the choices of a former run', String(Date.now()))
  .option('--minutes <number>', 'how long things go wrong', '1')
  .option('--everything', 'kill all parts and PostgreSQL at one instant, instead of some parts now and then')
  .addHelpText('after', '\nExit code 0: all promises were kept; 1: some were not, they are listed.')
  .parse()
  .opts<{ seed: string; minutes: string; everything?: true }>();

const seconds = Number(options.minutes) * 60;
if (!(seconds > 0)) throw new Error(`--minutes must be a number above 0, not '${options.minutes}'`);

process.stderr.write(`seed ${options.seed}, ${seconds} s\n`);
const server = await EmbeddedServer.create({ max_connections: '200' });
try {
  const { url: database } = await createDatabaseOn(server.url);
  const network = new Network();
  const cluster = await startCluster({ ...network.into(chaosCluster), database });
  try {
    const { violations, counts } = await runChaos(cluster, {
      seed: options.seed,
      seconds,
      server,
      ...(options.everything ? { everything: true } : { network }),
    });
    for (const [what, count] of Object.entries(counts)) process.stdout.write(`${what}\t${count}\n`);
    for (const violation of violations) process.stdout.write(`BROKEN: ${violation}\n`);
    if (violations.length > 0)
      process.stderr.write(`${cluster.logs()}\nrepeat with --seed ${options.seed}\n`);
    process.exitCode = violations.length > 0 ? 1 : 0;
  } finally {
    await cluster.stop();
    await network.close();
  }
} finally {
  await server.remove();
}
// Node's own clean-up at the end of a program was seen to wait for ever for one of the connections that were cut.
process.exit();
