// `cistern token`: who may do what.
import type { Command } from 'commander';
import { formatTime } from '../lib/format.ts';
import { expiry, list as listOf, positives } from '../lib/options.ts';
import { forEach, run, type Session, verb } from '../lib/session.ts';
import type { Token } from '../lib/types.ts';

interface AddOptions {
  scopes: string[];
  domain?: string;
  prefix?: string;
  redirect?: boolean;
  expires?: string;
}

export function register(program: Command): void {
  const token = program.command('token').description('list, add or remove access tokens');
  verb(token, 'list', 'list the tokens; their secrets are not kept anywhere', {
    domain: false,
    examples: ['token list'],
  }).action(run(list));
  verb(token, 'add', 'add a token and print its secret, this once', {
    domain: false,
    examples: [
      'token add web1 --scopes read,write --domain example.com',
      'token add cdn --scopes read --domain example.com --prefix public/ --redirect --expires 90d',
    ],
  })
    .argument('<name>', 'whose token it is')
    .requiredOption('--scopes <scopes>', 'any of read, write, admin, separated by commas', listOf)
    .option('--domain <name>', 'valid in this domain only (CISTERN_DOMAIN is not looked at here)')
    .option('--prefix <prefix>', 'valid for keys that begin with this only')
    .option('--redirect', 'may read straight from storage nodes, with ?via=redirect')
    .option('--expires <when>', "valid until then: '12h', '30d', '2027-01-31' (default: for ever)", expiry)
    .action(run(add));
  verb(token, 'rm', 'remove tokens; they are refused from then on', {
    domain: false,
    examples: ['token rm 3'],
  })
    .argument('<id...>', "numbers, from 'cistern token list'", positives)
    .action(run(remove));
}

async function list(session: Session): Promise<undefined> {
  const { tokens } = await session.admin.json<{ tokens: Token[] }>({ method: 'GET', path: '/v1/tokens' });
  await session.out.list(tokens, [
    { head: 'id', right: true, cell: (t) => String(t.id) },
    { head: 'scopes', cell: (t) => t.scopes.join(',') },
    { head: 'domain', cell: (t) => t.domain ?? 'any' },
    { head: 'prefix', cell: (t) => t.prefix || '-' },
    { head: 'redirect', cell: (t) => (t.redirect ? 'yes' : 'no') },
    { head: 'expires', cell: (t) => (t.expires === null ? 'never' : formatTime(t.expires)) },
    { head: 'name', cell: (t) => t.name },
  ]);
}

async function add(session: Session, name: string, options: AddOptions): Promise<undefined> {
  const { scopes, domain, prefix, redirect, expires } = options;
  const made = await session.admin.json<Token>({
    method: 'POST',
    path: '/v1/tokens',
    json: {
      name,
      scopes,
      ...(domain !== undefined && { domain }),
      ...(prefix !== undefined && { prefix }),
      ...(redirect && { redirect }),
      ...(expires !== undefined && { expires }),
    },
  });
  // Only the secret goes to stdout, so that a script can take it from there.
  await session.out.item(made, () => made.token as string);
  if (!session.out.json) session.out.note(`token ${made.id} for '${made.name}'; it is not shown again`);
}

function remove(session: Session, ids: number[]): Promise<number> {
  return forEach(
    session,
    ids,
    (id) => `cannot remove token ${id}`,
    async (id) => {
      await session.admin.send({ method: 'DELETE', path: `/v1/tokens/${id}` });
      if (session.out.json) await session.out.line(JSON.stringify({ deleted: id }));
    },
  );
}
