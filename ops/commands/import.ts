// `cistern import`: one directory, or several that were kept in step by rsync, become one truth in the store.
import { statSync } from 'node:fs';
import type { Command } from 'commander';
import { Extras } from '../import/extras.ts';
import { KnownFiles } from '../import/known.ts';
import { Merge } from '../import/merge.ts';
import { Report } from '../import/report.ts';
import { Store } from '../import/store.ts';
import type { Origin } from '../import/tree.ts';
import { directoryKey } from '../lib/api.ts';
import { failureOf, usage } from '../lib/failure.ts';
import { byteRate, positive } from '../lib/options.ts';
import { paceOf } from '../lib/pace.ts';
import { startProgress } from '../lib/progress.ts';
import { run, type Session, verb } from '../lib/session.ts';
import { Uploader } from '../lib/upload.ts';
import * as mogilefs from './import-mogilefs.ts';

interface Options {
  from?: Origin[];
  prefix: string;
  known?: string;
  everything?: boolean;
  exclude?: string[];
  delete?: boolean;
  class?: string;
  dryRun?: boolean;
  limitRate: number | 'default';
  concurrency: number;
  direct: boolean;
}

export function register(program: Command): void {
  const importing = verb(
    program,
    'import',
    'bring directories in, merged to one truth; again and again until nothing is left',
    {
      examples: [
        'import --prefix public sites/default/files          one directory; the next run takes what is new',
        'import --prefix public --from head1=/mnt/h1/files --from head2=/mnt/h2/files',
        'import --dry-run --prefix public sites/default/files  what would be done',
        'import --known uris.txt --prefix public ...           what the site itself knows, for files that some lack',
        'import --everything --prefix backup /srv/backup       a plain directory, with all that is in it',
      ],
    },
  )
    .usage('[options] [DIR...]')
    .argument('[dir...]', 'directories whose contents are brought in')
    .option('--from <name=dir>', 'a directory, and what it is called in lists (may be repeated)', origins)
    .option('--prefix <key>', 'directory in the store that the contents go to, such as public', '')
    .option('--known <file>', 'paths or URIs (public://a.jpg) that the site knows, one a line')
    .option('--everything', 'also take what of a Drupal site is never published (docs/moving.md)')
    .option('--exclude <path>', 'leave this path out, with all below it (may be repeated)', repeated)
    .option('--delete', 'then delete what the store holds under the prefix and no directory has (any more)')
    .option('--class <name>', "storage class, instead of the one that each key's prefix chooses")
    .option('--dry-run', 'say what would be done, and do nothing')
    .option('--limit-rate <bytes>', "bytes a second: '500K', '50M', '1G'", byteRate, 0)
    .option('--concurrency <n>', 'requests at the same time', positive, 6)
    .option('--no-direct', 'send large files through the tracker too, not straight to storage nodes')
    .action(run(importDirectories));
  mogilefs.register(importing);
}

async function importDirectories(session: Session, dirs: string[], options: Options): Promise<number> {
  const places = [...dirs.map((path) => ({ name: path, path })), ...(options.from ?? [])].map(checked);
  if (places.length === 0)
    throw usage('import wants a directory', "such as 'cistern import --prefix public sites/default/files'");
  const double = places.find(({ name }, i) => places.findIndex((other) => other.name === name) !== i);
  if (double !== undefined) throw usage(`two directories are called '${double.name}'`);
  const prefix = directoryKey(options.prefix);
  const known = options.known === undefined ? undefined : readKnown(options.known, prefix);
  const { api, out, signal } = session;
  const domain = session.domain();
  const report = new Report(out);
  const progress = startProgress('Importing', 'files', 0, !out.json);
  const uploader = new Uploader(api, domain, signal, options.direct);
  const rate = options.limitRate === 'default' ? 0 : options.limitRate;
  const common = { api, domain, report, progress, signal };
  const store = new Store({
    ...common,
    uploader,
    pace: paceOf(rate, signal),
    concurrency: options.concurrency,
    class: options.class,
  });
  const place = { ...common, origins: places, prefix, dryRun: options.dryRun ?? false };
  const merge = new Merge({
    ...place,
    store,
    extras: options.delete ? new Extras({ ...place, concurrency: options.concurrency }) : undefined,
    known,
    everything: options.everything ?? false,
    exclude: options.exclude ?? [],
  });
  try {
    await merge.run();
  } finally {
    progress.stop();
    await uploader.close();
  }
  return report.end(options.dryRun ?? false);
}

function checked(origin: Origin): Origin {
  const path = origin.path.replace(/(.)\/+$/, '$1');
  try {
    if (statSync(path).isDirectory()) return { ...origin, path };
  } catch (error) {
    throw failureOf(error, 'cannot import').withExit(2);
  }
  throw usage(`'${path}' is not a directory`, "store single files with 'cistern put'");
}

function readKnown(file: string, prefix: string): KnownFiles {
  try {
    return new KnownFiles(file, prefix);
  } catch (error) {
    throw failureOf(error, 'cannot read the list of known files').withExit(2);
  }
}

function origins(text: string, before: Origin[] | undefined): Origin[] {
  const [, name = text, path = text] = /^([^=/]+)=(.+)$/.exec(text) ?? [];
  return [...(before ?? []), { name, path }];
}

function repeated(text: string, before: string[] | undefined): string[] {
  return [...(before ?? []), text.replace(/^\.?\/+|\/+$/g, '')];
}
