// `cistern domain`: namespaces, usually one for each site.
import type { Command } from 'commander';
import { domainPath } from '../lib/api.ts';
import { EXIT, usage } from '../lib/failure.ts';
import { formatTime, plural } from '../lib/format.ts';
import { natural } from '../lib/options.ts';
import { confirm, run, type Session, verb } from '../lib/session.ts';
import type { Domain } from '../lib/types.ts';
import * as rewind from './rewind.ts';

export function register(program: Command): void {
  const domain = program.command('domain').description('list, add, change or remove domains');
  verb(domain, 'list', 'list the domains', { domain: false, examples: ['domain list'] }).action(run(list));
  verb(domain, 'add', 'add a domain', {
    domain: false,
    examples: ['domain add example.com', 'domain add staging --trash-days 3'],
  })
    .argument('<name>', 'lower-case letters, digits, dots, hyphens, underscores')
    .option('--trash-days <days>', 'how long deleted and replaced versions are kept (default: 30)', natural)
    .action(run(add));
  verb(domain, 'set', 'change a domain', {
    domain: false,
    examples: ['domain set example.com --trash-days 90'],
  })
    .argument('<name>')
    .requiredOption('--trash-days <days>', 'how long deleted and replaced versions are kept', natural)
    .action(run(set));
  verb(domain, 'rm', 'remove a domain', {
    domain: false,
    examples: ['domain rm staging', 'domain rm staging -r --yes'],
  })
    .argument('<name>')
    .option('-r, --recursive', 'with all its files; without it, the domain must be empty')
    .option('--yes', 'do not ask')
    .action(run(remove));
  verb(
    domain,
    'clone',
    'make another domain with all files of this one, as they are now; no bytes are copied',
    {
      domain: false,
      examples: ['domain clone prod stage', 'domain clone prod stage --trash-days 3'],
    },
  )
    .argument('<from>')
    .argument('<name>', 'of the new domain')
    .option('--trash-days <days>', 'how long its versions are kept (default: as in <from>)', natural)
    .action(run(clone));
  verb(domain, 'environment', 'show or say which environment of its site writes a domain', {
    domain: false,
    examples: [
      'domain environment example.com               which one it is',
      'domain environment example.com --set prod    others that name themselves may only read',
      'domain environment example.com --clear       the next one that names itself',
    ],
  })
    .argument('<name>')
    .option('--set <environment>', 'the environment that may write')
    .option('--clear', 'whichever names itself next')
    .action(run(environment));
  rewind.register(domain);
}

async function clone(
  session: Session,
  from: string,
  name: string,
  options: { trashDays?: number },
): Promise<undefined> {
  const made = await session.admin.json<Domain & { files: number; directories: number }>({
    method: 'POST',
    path: `${domainPath(from)}/clone`,
    json: { name, ...trash(options) },
  });
  await session.out.item(
    made,
    () =>
      `domain '${name}': ${plural(made.files, 'file')} in ${plural(made.directories, 'directory', 'directories')}, as in '${from}'`,
  );
}

async function environment(
  session: Session,
  name: string,
  { set, clear }: { set?: string; clear?: boolean },
): Promise<undefined> {
  if (set !== undefined && clear) throw usage('--set and --clear say two things', 'give one of them');
  const change = { method: 'PATCH', json: { environment: set ?? null }, repeatable: true } as const;
  const how = set !== undefined || clear ? change : ({ method: 'GET' } as const);
  const shown = await session.admin.json<Domain>({ ...how, path: domainPath(name) });
  await session.out.item(shown, () =>
    shown.environment === null
      ? `domain '${name}' is written by whichever environment names itself first`
      : `domain '${name}' is written by the environment '${shown.environment}'`,
  );
}

async function list(session: Session): Promise<undefined> {
  const { domains } = await session.admin.json<{ domains: Domain[] }>({ method: 'GET', path: '/v1/domains' });
  await session.out.list(domains, [
    { head: 'trash days', right: true, cell: (d) => String(d.trashDays) },
    { head: 'created', cell: (d) => (session.out.terminal ? formatTime(d.created) : d.created) },
    { head: 'environment', cell: (d) => d.environment ?? '-' },
    { head: 'name', cell: (d) => d.name },
  ]);
}

async function add(session: Session, name: string, options: { trashDays?: number }): Promise<undefined> {
  const made = await session.admin.json<Domain>({
    method: 'POST',
    path: '/v1/domains',
    json: { name, ...trash(options) },
  });
  await show(session, made);
}

async function set(session: Session, name: string, options: { trashDays: number }): Promise<undefined> {
  const changed = await session.admin.json<Domain>({
    method: 'PATCH',
    path: domainPath(name),
    json: trash(options),
    repeatable: true,
  });
  await show(session, changed);
}

async function remove(
  session: Session,
  name: string,
  { recursive, yes }: { recursive?: boolean; yes?: boolean },
): Promise<number> {
  if (recursive) await confirm(`This removes the domain '${name}' with ALL its files.`, yes);
  await session.admin.send({
    method: 'DELETE',
    path: domainPath(name),
    query: { recursive: recursive || undefined },
  });
  if (session.out.json) await session.out.line(JSON.stringify({ deleted: name }));
  return EXIT.ok;
}

function trash({ trashDays }: { trashDays?: number }): { trashDays?: number } {
  return trashDays === undefined ? {} : { trashDays };
}

function show(session: Session, domain: Domain): Promise<void> {
  return session.out.item(
    domain,
    () => `domain '${domain.name}', trash kept for ${plural(domain.trashDays, 'day')}`,
  );
}
