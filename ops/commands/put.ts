// `cistern put`: stores local files and directories.
import type { Command } from 'commander';
import { directoryPath } from '../lib/api.ts';
import { EXIT, type Failure, usage } from '../lib/failure.ts';
import { formatBytes, plural } from '../lib/format.ts';
import { destinations, inParallel, type Source, walk } from '../lib/local.ts';
import { positive } from '../lib/options.ts';
import { startProgress } from '../lib/progress.ts';
import { report, run, type Session, verb } from '../lib/session.ts';
import { Uploader, type UploadOptions } from '../lib/upload.ts';

interface Options {
  class?: string;
  type?: string;
  ifNoneMatch?: boolean;
  times?: boolean;
  concurrency: number;
  direct: boolean;
}

export function register(program: Command): void {
  verb(program, 'put', 'store local files and directories', {
    examples: [
      'put cat.jpg public/cat.jpg                 one file, under this key',
      'put *.jpg public/2026-11/                  several files into a directory',
      'put sites/default/files/. public           what is in a directory, with all below it',
      'put - db.sql < dump.sql                    the standard input',
      'put --if-none-match cat.jpg public/cat.jpg only if the key is free',
    ],
  })
    .usage('[options] LOCAL... KEY')
    .argument('<local...>', "files and directories ('-': the standard input), then the key or directory")
    .option('--class <name>', "storage class, instead of the one that the key's prefix chooses")
    .option('--type <type>', "content type, instead of the one that the key's extension tells")
    .option('--if-none-match', 'never replace a file: fail if the key is taken')
    .option('--times', "keep the files' modification times, instead of now")
    .option('--concurrency <n>', 'files at the same time', positive, 8)
    .option('--no-direct', 'send large files through the tracker too, not straight to storage nodes')
    .action(run(put));
}

async function put(session: Session, paths: string[], options: Options): Promise<number> {
  const target = paths.at(-1) as string;
  const locals = paths.slice(0, -1);
  if (locals.length === 0)
    throw usage('put wants a file and a key', "such as 'cistern put cat.jpg public/cat.jpg'");
  const uploader = new Uploader(session.api, session.domain(), session.signal, options.direct);
  try {
    if (!locals.includes('-'))
      return await putFiles(session, uploader, destinations(locals, target), options);
    if (locals.length > 1 || /(^|\/)$/.test(target))
      throw usage("'-' is one file, and wants a key of its own");
    const entry = await uploader.stream(process.stdin, target, uploadOptions(options));
    await session.out.item(entry, () => `stored ${formatBytes(entry.size)}`);
    return EXIT.ok;
  } finally {
    await uploader.close();
  }
}

async function putFiles(
  session: Session,
  uploader: Uploader,
  places: { source: string; target: string }[],
  options: Options,
): Promise<number> {
  const { out } = session;
  let exit: number = EXIT.ok;
  const failed = (error: unknown, what: string) => {
    exit = Math.max(exit, report(session, error, what));
  };
  const sources = async function* (skip: (failure: Failure) => void) {
    for (const place of places) yield* walk(place.source, place.target, skip);
  };
  // What there is to send is looked up beforehand only if someone watches.
  let total = 0;
  if (process.stderr.isTTY && !out.json) for await (const { size } of sources(() => {})) total += size;
  const bar = startProgress('Storing', 'bytes', total, !out.json);
  const done = { files: 0, bytes: 0 };
  const store = async (source: Source) => {
    try {
      if (source.kind === 'directory') {
        await session.api.send({
          method: 'PUT',
          path: directoryPath(session.domain(), source.key),
          repeatable: true,
        });
        return;
      }
      const entry = await uploader.file(
        source.path,
        source.size,
        source.key,
        uploadOptions(options, source),
        (count) => bar.add(count),
      );
      done.files++;
      done.bytes += entry.size;
      if (out.json) await out.line(JSON.stringify({ ...entry, local: source.path }));
    } catch (error) {
      failed(error, `cannot store '${source.path}' as '${source.key}'`);
    }
  };
  try {
    await inParallel(
      sources((failure) => failed(failure, 'cannot read')),
      options.concurrency,
      store,
    );
  } finally {
    bar.stop();
  }
  if (!out.json) await out.line(`stored ${plural(done.files, 'file')}, ${formatBytes(done.bytes)}`);
  return exit;
}

function uploadOptions(options: Options, source?: Source): UploadOptions {
  return {
    ...(options.class && { class: options.class }),
    ...(options.type && { contentType: options.type }),
    ...(options.ifNoneMatch && { exclusive: true }),
    ...(options.times && source && { mtime: source.mtime }),
  };
}
