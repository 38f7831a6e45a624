// `cistern ls`: lists a directory.
import type { Command } from 'commander';
import { splitKey } from '../../services/keys.ts';
import { directoryKey } from '../lib/api.ts';
import { formatBytes, formatTime } from '../lib/format.ts';
import { isNoDirectory, listDirectory, statKeys } from '../lib/listing.ts';
import { run, type Session, verb } from '../lib/session.ts';
import type { Entry } from '../lib/types.ts';

interface Options {
  long?: boolean;
  recursive?: boolean;
}

export function register(program: Command): void {
  verb(program, 'ls', 'list a directory; directories end with a slash', {
    examples: [
      'ls                     the names at the root',
      'ls -l public/2026-11   with size, time, class and type',
      'ls -r public           the full keys of all below it',
      "ls -r --json / | jq -r 'select(.size > 1000000).key'",
    ],
  })
    .argument('[directory]', 'directory, or one file', '/')
    .option('-l, --long', 'size in bytes, modification time (UTC), class and content type before each name')
    .option('-r, --recursive', 'all below it, by their full keys')
    .action(run(ls));
}

async function ls(session: Session, given: string, options: Options): Promise<undefined> {
  const { out } = session;
  const shown = (entry: Entry) => {
    const name = options.recursive ? entry.key : splitKey(entry.key).name;
    return entry.kind === 'directory' ? `${name}/` : name;
  };
  const columns = [
    {
      head: 'size',
      right: true,
      cell: (e: Entry) => (e.kind === 'file' ? sizeOf(e.size, out.terminal) : '-'),
    },
    { head: 'modified', cell: (e: Entry) => (out.terminal ? formatTime(e.mtime) : e.mtime) },
    { head: 'class', cell: (e: Entry) => (e.kind === 'file' ? e.class : '-') },
    { head: 'type', cell: (e: Entry) => (e.kind === 'file' ? e.contentType : 'directory') },
    { head: 'name', cell: shown, paint: (e: Entry) => (e.kind === 'file' ? String : out.color.blue) },
  ];
  // A table wants its widths: it is made of a thousand rows at a time.
  const rows: Entry[] = [];
  for await (const entry of entries(session, given, options.recursive ?? false)) {
    if (!options.long || out.json) {
      await out.item(entry, () => out.name(shown(entry)));
    } else {
      rows.push(entry);
      if (rows.length === 1000) await out.list(rows.splice(0), columns);
    }
  }
  await out.list(rows, columns);
  return undefined;
}

function sizeOf(size: number, terminal: boolean): string {
  return terminal ? formatBytes(size) : String(size);
}

/** The entries of a directory; a file is listed as itself. */
async function* entries(session: Session, given: string, recursive: boolean): AsyncGenerator<Entry> {
  try {
    yield* listDirectory(session.api, session.domain(), given, recursive);
  } catch (error) {
    const [file] = isNoDirectory(error)
      ? await statKeys(session.api, session.domain(), [directoryKey(given)])
      : [null];
    if (file?.kind !== 'file') throw error;
    yield file;
  }
}
