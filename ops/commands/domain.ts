// `cistern domain`: namespaces, usually one for each site.
import type { Command } from 'commander';
import { domainPath } from '../lib/api.ts';
import { EXIT } from '../lib/failure.ts';
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
  rewind.register(domain);
}

async function list(session: Session): Promise<undefined> {
  const { domains } = await session.admin.json<{ domains: Domain[] }>({ method: 'GET', path: '/v1/domains' });
  await session.out.list(domains, [
    { head: 'trash days', right: true, cell: (d) => String(d.trashDays) },
    { head: 'created', cell: (d) => (session.out.terminal ? formatTime(d.created) : d.created) },
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
