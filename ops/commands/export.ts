// `cistern export`: a directory that mirrors the store, once or for as long as it runs.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { claim } from '../export/marker.ts';
import { type Counts, type Event, Mirror } from '../export/mirror.ts';
import { directoryKey } from '../lib/api.ts';
import { EXIT } from '../lib/failure.ts';
import { formatBytes, plural } from '../lib/format.ts';
import { positive } from '../lib/options.ts';
import { startProgress } from '../lib/progress.ts';
import { run, type Session, verb } from '../lib/session.ts';

interface Options {
  prefix: string;
  watch?: number | true;
  delete?: boolean;
  dryRun?: boolean;
  concurrency: number;
}

/** Seconds between two looks with --watch. */
const WATCH_SECONDS = 10;

export function register(program: Command): void {
  verb(program, 'export', 'make a directory what the store holds, with times and modes', {
    examples: [
      'export /srv/mirror                          all of the domain; the next run takes what changed',
      'export --prefix public /var/www/files       the way back: the files of one prefix',
      'export --delete --watch /srv/mirror         goes on until it is stopped, and deletes what the store no longer holds',
    ],
  })
    .argument('<dir>', 'the directory; it is made if it is missing')
    .option('--prefix <key>', 'directory of the store, such as public; without it all', '')
    .option('--watch [seconds]', `go on, and look again after so many seconds (${WATCH_SECONDS})`, positive)
    .option(
      '--delete',
      'remove what the store does not hold; only where the first export found an empty directory',
    )
    .option('--dry-run', 'say what would be done, and do nothing')
    .option('--concurrency <n>', 'files at the same time', positive, 16)
    .action(run(exportDirectory));
}

async function exportDirectory(session: Session, target: string, options: Options): Promise<number> {
  const { api, out, signal } = session;
  const domain = session.domain();
  const prefix = directoryKey(options.prefix);
  const { dryRun = false, delete: remove = false, concurrency, watch } = options;
  if (!dryRun) claim(target, { domain, prefix }, remove);
  const tell = (event: Event) => {
    if (out.json) out.line(JSON.stringify(event));
    else if (event.event === 'failed') out.note(`cistern: cannot write '${event.path}': ${event.why}`);
    else if (event.event !== 'written') out.line(`${event.event}\t${out.name(event.path)}`);
  };
  for (let passes = 1; ; passes++) {
    const progress = startProgress('Exporting', 'files', 0, !out.json);
    const how = { api, domain, prefix, target, delete: remove, dryRun, concurrency, progress, signal, tell };
    const mirror = new Mirror(how);
    try {
      await mirror.pass();
    } finally {
      progress.stop();
    }
    const { counts } = mirror;
    const changed = counts.written + counts.deleted + counts.failed > 0;
    if (passes === 1 || changed) {
      await out.item({ event: 'done', dryRun, ...counts }, () => summary(counts, dryRun));
    }
    if (watch === undefined) return counts.failed === 0 ? EXIT.ok : EXIT.failed;
    await sleep((watch === true ? WATCH_SECONDS : watch) * 1000, undefined, { signal });
  }
}

function summary(counts: Counts, dryRun: boolean): string {
  const { files, written, writtenBytes, upToDate, deleted, extra, failed } = counts;
  const parts = [
    `${plural(files, 'file')}: ${written.toLocaleString('en-US')} ${dryRun ? 'to write' : 'written'} (${formatBytes(writtenBytes)})`,
    `${upToDate.toLocaleString('en-US')} were there`,
  ];
  if (deleted > 0) parts.push(`${deleted.toLocaleString('en-US')} ${dryRun ? 'to delete' : 'deleted'}`);
  if (extra > 0) parts.push(`${extra.toLocaleString('en-US')} not in the store, left where they are`);
  if (failed > 0) parts.push(`${failed.toLocaleString('en-US')} failed`);
  return parts.join(', ');
}
