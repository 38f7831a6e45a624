// `cistern get`: reads files and directories into local ones.
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { validateKey } from '../../services/keys.ts';
import { directoryKey } from '../lib/api.ts';
import { downloadTo } from '../lib/download.ts';
import { EXIT, Failure, usage } from '../lib/failure.ts';
import { formatBytes, plural } from '../lib/format.ts';
import { listDirectory, statKeys } from '../lib/listing.ts';
import { inParallel, lastName } from '../lib/local.ts';
import { positive } from '../lib/options.ts';
import { startProgress } from '../lib/progress.ts';
import { report, run, type Session, verb } from '../lib/session.ts';
import type { FileEntry } from '../lib/types.ts';
import { printFiles } from './cat.ts';

interface Options {
  recursive?: boolean;
  times?: boolean;
  concurrency: number;
}

export function register(program: Command): void {
  verb(program, 'get', 'read files and directories into local ones; each is verified against its digest', {
    examples: [
      'get public/cat.jpg cat.jpg      one file',
      'get public/a.jpg public/b.jpg . several files into a directory',
      'get -r public backup            a directory with all below it',
      "get -r / backup                 all of the domain's files",
      'get public/cat.jpg -            to the standard output',
    ],
  })
    .usage('[options] KEY... LOCAL')
    .argument('<key...>', "keys, then the local file or directory ('-': the standard output)")
    .option('-r, --recursive', 'directories too, with all below them')
    .option('--times', "set the files' modification times to those in Cistern")
    .option('--concurrency <n>', 'files at the same time', positive, 8)
    .action(run(get));
}

async function get(session: Session, paths: string[], options: Options): Promise<number> {
  const local = paths.at(-1) as string;
  const keys = paths.slice(0, -1);
  if (keys.length === 0)
    throw usage('get wants a key and a local file', "such as 'cistern get public/cat.jpg .'");
  if (local === '-') return printFiles(session, keys);
  const state = { exit: EXIT.ok as number, files: 0, bytes: 0 };
  const failed = (error: unknown, what: string) => {
    state.exit = Math.max(state.exit, report(session, error, what));
  };
  const bar = startProgress('Reading', 'bytes', 0, !session.out.json);
  let total = 0;
  const fetch = async ({ entry, path }: Job) => {
    try {
      await downloadTo(session.api, session.domain(), entry.key, path, session.signal, {
        ...(options.times && { mtime: new Date(entry.mtime) }),
        onBytes: (count) => bar.add(count),
      });
      state.files++;
      state.bytes += entry.size;
      if (session.out.json) await session.out.line(JSON.stringify({ ...entry, local: path }));
    } catch (error) {
      failed(error, `cannot read '${entry.key}' into '${path}'`);
    }
  };
  const counted = async function* () {
    for await (const job of jobs(session, keys, local, options.recursive ?? false, failed)) {
      total += job.entry.size;
      bar.setTotal(total);
      yield job;
    }
  };
  try {
    await inParallel(counted(), options.concurrency, fetch);
  } finally {
    bar.stop();
  }
  if (!session.out.json) {
    await session.out.line(`read ${plural(state.files, 'file')}, ${formatBytes(state.bytes)}`);
  }
  return state.exit;
}

interface Job {
  entry: FileEntry;
  path: string;
}

/** The files to be read and where to; makes the local directories on the way. */
async function* jobs(
  session: Session,
  keys: string[],
  local: string,
  recursive: boolean,
  failed: (error: unknown, what: string) => void,
): AsyncGenerator<Job> {
  const isDirectory = (await fs.stat(local).catch(() => undefined))?.isDirectory() ?? false;
  const into = keys.length > 1 || local.endsWith('/') || isDirectory;
  for (const given of keys) {
    try {
      const name = lastName(given);
      const path = into && name !== undefined ? join(local, name) : local;
      const key = directoryKey(given.replace(/(^|\/)\.$/, ''));
      const [entry] =
        key === '' ? [{ kind: 'directory' as const }] : await statKeys(session.api, session.domain(), [key]);
      if (!entry) throw new Failure('there is no such file or directory', { todo: "look with 'cistern ls'" });
      if (entry.kind === 'file') {
        if (into) await fs.mkdir(local, { recursive: true });
        yield { entry, path };
      } else if (recursive) {
        yield* below(session, key, path);
      } else {
        throw new Failure('it is a directory', { todo: 'add -r to read all below it' });
      }
    } catch (error) {
      failed(error, `cannot read '${given}'`);
    }
  }
}

async function* below(session: Session, directory: string, path: string): AsyncGenerator<Job> {
  await fs.mkdir(path, { recursive: true });
  const skip = directory === '' ? 0 : directory.length + 1;
  for await (const entry of listDirectory(session.api, session.domain(), directory, true)) {
    // Only a valid key is sure to stay below `path`.
    const place = join(path, validateKey(entry.key).slice(skip));
    if (entry.kind === 'directory') await fs.mkdir(place, { recursive: true });
    else yield { entry, path: place };
  }
}
