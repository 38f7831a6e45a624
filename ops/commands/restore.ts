// `cistern restore`: the database is lost; makes a new one from a backup and from what the storage nodes hold.
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { enableFailPoints } from '../../services/fail-points.ts';
import type { Restored } from '../../tracker/recovery/restore.ts';
import { EXIT, EXIT_HELP, failureOf, usage } from '../lib/failure.ts';
import { plural } from '../lib/format.ts';
import { Output } from '../lib/output.ts';
import { ownTls } from '../lib/tls.ts';

interface Options {
  database?: string;
  node?: string[];
  file?: string;
  clusterKeyFile?: string;
  json: boolean;
}

export function register(program: Command): void {
  program
    .command('restore')
    .description(
      'make a new database when the old one is lost: from a backup and what the storage nodes hold',
    )
    .option('--database <url>', 'an empty PostgreSQL database (default: CISTERN_DATABASE_URL)')
    .option('--node <url...>', 'storage nodes; one is enough if it has a backup, the others are found in it')
    .option('--file <path>', 'a backup in a file, instead of the newest on the devices')
    .option('--cluster-key-file <path>', 'file with the cluster key (default: CISTERN_CLUSTER_KEY)')
    .option('--json', 'print JSON, one object a line', false)
    .addHelpText('after', HELP)
    .action(act);
}

const HELP = `
Stop all trackers first; leave the storage nodes running. Start the trackers on the new database afterwards.

What the backup has comes back as it was then: what was deleted, moved or renamed since is there again under its former
name. What was stored since gets its name again from the devices' journals. Every name that could not be brought back
is listed, with why.

Examples:
  $ cistern restore --database postgres://cistern:…@db/cistern --node http://h1:7501 --node http://h2:7501
  $ cistern restore --file cistern.gz --node http://h1:7501
${EXIT_HELP}`;

async function act(options: Options): Promise<void> {
  enableFailPoints();
  const databaseUrl = options.database ?? process.env.CISTERN_DATABASE_URL;
  if (!databaseUrl) throw usage('no database is named', 'add --database, or set CISTERN_DATABASE_URL');
  const key = clusterKey(options);
  if (!options.node?.length) throw usage('no storage node is named', 'add --node http://…');
  const out = new Output(options.json);
  // Loaded only here: no other verb needs a database client.
  const [{ restore }, { Keyring }, { createLogger }] = await Promise.all([
    import('../../tracker/recovery/restore.ts'),
    import('../../services/tickets.ts'),
    import('../../services/logging.ts'),
  ]);
  const restored = await restore({
    databaseUrl,
    keyring: new Keyring(key),
    tls: ownTls(),
    nodes: options.node,
    ...(options.file === undefined ? {} : { file: options.file }),
    log: createLogger({ level: 'error', service: 'restore' }),
    onStep: (step) => out.note(step),
  }).catch((error) => {
    throw failureOf(error, 'cannot restore').withExit(EXIT.couldNotLook);
  });
  process.exitCode = await report(out, restored);
}

function clusterKey({ clusterKeyFile }: Options): string {
  const key =
    clusterKeyFile === undefined
      ? process.env.CISTERN_CLUSTER_KEY
      : readFileSync(clusterKeyFile, 'utf8').trim();
  if (key) return key;
  throw usage('no cluster key is given', 'add --cluster-key-file, or set CISTERN_CLUSTER_KEY');
}

/** Says what came back and what did not; exit 0 only if all did. */
async function report(out: Output, restored: Restored): Promise<number> {
  const { header, source, unreached, missing, adopted, named, lost } = restored;
  for (const { newcomer, why } of named) {
    const { fid, domain, key, devices } = newcomer;
    const event = why === undefined ? 'recovered' : 'not-recovered';
    const name = key === null ? `blob ${fid} (devices ${devices.join(', ')})` : `${domain} ${key}`;
    await out.item({ event, fid, domain, key, devices, ...(why === undefined ? {} : { why }) }, () =>
      why === undefined ? `recovered      ${name}` : `not recovered  ${name}: ${why}`,
    );
  }
  for (const one of lost) {
    await out.item(
      { event: 'lost', ...one },
      () => `without bytes  ${one.domain} ${one.key} (blob ${one.fid})`,
    );
  }
  for (const why of unreached) await out.item({ event: 'unreached', why }, () => `not asked      ${why}`);
  const recovered = named.filter(({ why }) => why === undefined).length;
  const counts = { recovered, notRecovered: named.length - recovered, lost: lost.length, missing, adopted };
  await out.item(
    { event: 'done', backup: { at: header.at, source }, ...counts, unreached: unreached.length },
    () =>
      `restored to ${header.at}; ${plural(recovered, 'file')} stored since recovered, ${counts.notRecovered} not; ` +
      `${plural(lost.length, 'file')} without bytes. Start the trackers, then: cistern repair, cistern fsck`,
  );
  return counts.notRecovered + lost.length + unreached.length === 0 ? EXIT.ok : EXIT.failed;
}
