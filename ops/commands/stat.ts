// `cistern stat`: what is known of files and directories.
import type { Command } from 'commander';
import { directoryKey } from '../lib/api.ts';
import { EXIT, Failure } from '../lib/failure.ts';
import { formatBytes } from '../lib/format.ts';
import { statKeys } from '../lib/listing.ts';
import { report, run, type Session, verb } from '../lib/session.ts';
import type { Entry } from '../lib/types.ts';

export function register(program: Command): void {
  verb(program, 'stat', 'show size, digest, times and class of files and directories', {
    examples: ['stat public/cat.jpg', 'stat --json public/cat.jpg public/dog.jpg'],
  })
    .argument('<key...>', 'keys of files and directories')
    .action(run(stat));
}

async function stat(session: Session, keys: string[]): Promise<number> {
  const entries = await statKeys(session.api, session.domain(), keys.map(directoryKey));
  let exit: number = EXIT.ok;
  for (const [i, entry] of entries.entries()) {
    if (entry) await session.out.item(entry, () => describe(entry, (text) => session.out.name(text)));
    else exit = report(session, new Failure('there is no such file or directory'), `'${keys[i]}'`);
  }
  return exit;
}

function describe(entry: Entry, name: (text: string) => string): string {
  const lines: [string, string][] = [
    ['key', name(entry.key)],
    ['kind', entry.kind],
    ['modified', entry.mtime],
  ];
  if (entry.kind === 'file') {
    lines.push(
      ['size', `${entry.size} (${formatBytes(entry.size)})`],
      ['sha256', entry.sha256],
      ['type', name(entry.contentType)],
      ['class', entry.class],
      ['fid', String(entry.fid)],
      ['meta', name(JSON.stringify(entry.meta))],
    );
  }
  return lines.map(([label, value]) => `${label.padEnd(9)} ${value}`).join('\n');
}
