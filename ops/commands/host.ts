// `cistern host`: the machines that run storage nodes.
import type { Command } from 'commander';
import { hostColumns } from '../lib/cluster.ts';
import { EXIT } from '../lib/failure.ts';
import { run, type Session, verb } from '../lib/session.ts';
import type { Host } from '../lib/types.ts';

export function register(program: Command): void {
  const host = program.command('host').description('list, change or remove hosts (they add themselves)');
  verb(host, 'list', 'list the hosts', { domain: false, examples: ['host list'] }).action(run(list));
  verb(host, 'set', 'change a host', { domain: false, examples: ['host set h1 --zone rack-a'] })
    .argument('<host>')
    .requiredOption('--zone <zone>', 'rack, room or power line that it shares with others')
    .action(run(set));
  verb(host, 'rm', 'remove a host that has no devices left', { domain: false, examples: ['host rm h1'] })
    .argument('<host>')
    .action(run(remove));
}

async function list(session: Session): Promise<undefined> {
  const { hosts } = await session.admin.json<{ hosts: Host[] }>({ method: 'GET', path: '/v1/hosts' });
  await session.out.list(hosts, hostColumns(session.out));
}

async function set(session: Session, name: string, { zone }: { zone: string }): Promise<undefined> {
  const changed = await session.admin.json<Host>({
    method: 'PATCH',
    path: `/v1/hosts/${encodeURIComponent(name)}`,
    json: { zone },
    repeatable: true,
  });
  if (session.out.json) await session.out.line(JSON.stringify(changed));
}

async function remove(session: Session, name: string): Promise<number> {
  await session.admin.send({ method: 'DELETE', path: `/v1/hosts/${encodeURIComponent(name)}` });
  if (session.out.json) await session.out.line(JSON.stringify({ deleted: name }));
  return EXIT.ok;
}
