// `cistern backup`: the database, in one file, onto the cluster's own devices and to wherever one wants it.
import { createHash, randomBytes } from 'node:crypto';
import { createWriteStream, promises as fs } from 'node:fs';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { Failure } from '../lib/failure.ts';
import { formatAge, formatBytes } from '../lib/format.ts';
import { run, type Session, verb } from '../lib/session.ts';
import type { DatabaseBackup } from '../lib/types.ts';

export function register(program: Command): void {
  verb(program, 'backup', "back up the cluster's database: names, and where the bytes are", {
    domain: false,
    examples: [
      'backup                             make one now, on devices of several hosts',
      'backup cistern.gz                  the same, and a copy here',
      'backup --list                      those that there are; trackers make them on a schedule',
      'backup cistern.gz --name 2026…     fetch one that was made before',
    ],
  })
    .argument('[file]', "where a copy goes; '-' is the standard output")
    .option('--list', 'list the backups on the devices')
    .option('--name <name>', 'do not make one; fetch this one')
    .addHelpText('after', "When the database is lost: 'cistern restore --help'.")
    .action(run(backup));
}

async function backup(
  session: Session,
  file: string | undefined,
  options: { list?: boolean; name?: string },
) {
  if (options.list) return await list(session);
  const made = options.name === undefined ? await make(session) : await find(session, options.name);
  if (file !== undefined) await fetchTo(session, made, file);
  // With the bytes on the standard output there is no place for words.
  if (file === '-') return undefined;
  const where = `${formatBytes(made.size)} on devices ${made.devices.join(', ')}`;
  await session.out.item(made, () => `${made.name}: ${where}${file === undefined ? '' : `, and in ${file}`}`);
  return undefined;
}

async function list(session: Session): Promise<undefined> {
  const { out } = session;
  await out.list(await all(session), [
    { head: 'name', cell: ({ name }) => name },
    { head: 'when', cell: ({ at }) => (out.terminal ? formatAge(at) : at) },
    { head: 'size', right: true, cell: ({ size }) => (out.terminal ? formatBytes(size) : String(size)) },
    { head: 'devices', cell: ({ devices }) => devices.join(', ') },
  ]);
}

async function all(session: Session): Promise<DatabaseBackup[]> {
  const answer = await session.admin.json<{ backups: DatabaseBackup[] }>({
    method: 'GET',
    path: '/v1/backups',
  });
  return answer.backups;
}

function make(session: Session): Promise<DatabaseBackup> {
  return session.admin.json<DatabaseBackup>({ method: 'POST', path: '/v1/backups' });
}

async function find(session: Session, name: string): Promise<DatabaseBackup> {
  const found = (await all(session)).find((one) => one.name === name);
  if (found !== undefined) return found;
  throw new Failure(`there is no backup '${name}'`, { todo: "see 'cistern backup --list'" });
}

/** Fetches and verifies a backup; a file holds all of it or is as it was. */
async function fetchTo(session: Session, { name, sha256 }: DatabaseBackup, file: string): Promise<void> {
  const answer = await session.admin.request({ method: 'GET', path: `/v1/backups/${name}` });
  const digest = createHash('sha256');
  const hashed = async function* (pieces: AsyncIterable<Buffer>) {
    for await (const piece of pieces) {
      digest.update(piece);
      yield piece;
    }
    if (digest.digest('hex') !== sha256)
      throw new Failure('the bytes received are not the backup', { todo: 'try again' });
  };
  if (file === '-') return await pipeline(answer.body, hashed, process.stdout, { end: false });
  const temporary = join(dirname(file), `.cistern-${randomBytes(6).toString('hex')}.part`);
  try {
    await pipeline(
      answer.body,
      hashed,
      createWriteStream(temporary, { flags: 'wx', mode: 0o600, flush: true }),
    );
    await fs.rename(temporary, file);
  } catch (error) {
    await fs.rm(temporary, { force: true });
    throw error;
  }
}
