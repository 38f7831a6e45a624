// `cistern domain rewind` and `rewinds`: all names of a domain as they were at a time, and back.
import type { Command } from 'commander';
import { domainPath, idempotent } from '../lib/api.ts';
import { EXIT, usage } from '../lib/failure.ts';
import { formatTime, plural } from '../lib/format.ts';
import { past } from '../lib/options.ts';
import { confirm, run, type Session, verb } from '../lib/session.ts';
import type { Rewind, RewindAnswer, RewindCounts } from '../lib/types.ts';

/** Most changes that are listed. */
const LISTED = 10_000;
/** Of those, without --json. */
const SHOWN = 20;
/** A domain with millions of names takes a while. */
const PATIENCE_MS = 60_000;

export function register(domain: Command): void {
  verb(domain, 'rewind', 'make all names of a domain what they were at a time', {
    domain: false,
    examples: [
      "domain rewind example.com --to '2h ago' --dry-run",
      "domain rewind example.com --to '2026-11-23 02:00' --yes",
      'domain rewind example.com --undo      to before the last rewind; what was written since goes too',
    ],
  })
    .argument('<name>')
    .option('--to <time>', "'2h ago', or a time in UTC or with a zone", past)
    .option('--undo', 'undo the last rewind')
    .option('--dry-run', 'only tell what would change')
    .option('--yes', 'do not ask')
    .action(run(rewind));
  verb(domain, 'rewinds', 'list the rewinds of a domain, and how far back it can go', {
    domain: false,
    examples: ['domain rewinds example.com'],
  })
    .argument('<name>')
    .action(run(list));
}

interface Options {
  to?: string;
  undo?: boolean;
  dryRun?: boolean;
  yes?: boolean;
}

async function rewind(session: Session, name: string, { to, undo, dryRun, yes }: Options): Promise<number> {
  if ((to !== undefined) === (undo === true)) throw usage('say either --to with a time, or --undo');
  const ask = (dryRun: boolean) =>
    session.admin.json<RewindAnswer>({
      method: 'POST',
      path: `${domainPath(name)}/rewinds`,
      headers: dryRun ? {} : idempotent(),
      json: { ...(undo ? { undo } : { to }), dryRun, limit: LISTED },
      patience: PATIENCE_MS,
    });
  if (dryRun || !yes) {
    const planned = await ask(true);
    if (dryRun) {
      await show(session, planned, `would rewind '${name}' to ${planned.to}`);
      return EXIT.ok;
    }
    await confirm(`This makes '${name}' what it was at ${planned.to}: ${inWords(planned)}.`, yes);
  }
  const done = await ask(false);
  await show(session, done, `rewound '${name}' to ${done.to}`);
  if (!session.out.json) session.out.note(`to undo it: cistern domain rewind ${name} --undo`);
  return EXIT.ok;
}

/** The counts, and the changes: with --json all that were listed, else the first ones. */
async function show({ out }: Session, answer: RewindAnswer, what: string): Promise<void> {
  const { changes, ...rest } = answer;
  if (out.json) {
    for (const change of changes) await out.line(JSON.stringify({ event: 'change', ...change }));
    return out.line(JSON.stringify({ event: 'rewind', ...rest }));
  }
  await out.line(`${what}: ${inWords(answer)}`);
  for (const { kind, change, key, to } of changes.slice(0, SHOWN)) {
    const slash = kind === 'directory' ? '/' : '';
    const target = to === undefined ? '' : ` -> ${out.name(to)}/`;
    await out.line(`  ${change.padEnd(7)}  ${out.name(key)}${slash}${target}`);
  }
  if (changes.length > SHOWN) out.note('there are more changes: --json lists them');
  if (answer.lost > 0) {
    out.note('what is lost had its bytes removed already; nothing is at these keys, so that it is made anew');
  }
}

function inWords(counts: RewindCounts): string {
  const { removed, restored, replaced, lost, directoriesRemoved, directoriesRestored, directoriesMoved } =
    counts;
  const parts = [
    removed > 0 && `${plural(removed, 'file')} removed`,
    restored > 0 && `${plural(restored, 'file')} restored`,
    replaced > 0 && `${plural(replaced, 'file')} replaced`,
    lost > 0 && `${plural(lost, 'file')} lost`,
    directoriesRemoved > 0 && `${plural(directoriesRemoved, 'directory', 'directories')} removed`,
    directoriesRestored > 0 && `${plural(directoriesRestored, 'directory', 'directories')} restored`,
    directoriesMoved > 0 && `${plural(directoriesMoved, 'directory', 'directories')} moved back`,
  ].filter((part) => part !== false);
  return parts.length === 0 ? 'nothing changes' : parts.join(', ');
}

async function list({ admin, out }: Session, name: string): Promise<undefined> {
  const { oldest, rewinds } = await admin.json<{ oldest: string; rewinds: Rewind[] }>({
    method: 'GET',
    path: `${domainPath(name)}/rewinds`,
  });
  await out.list(rewinds, [
    { head: 'at', cell: (one) => (out.terminal ? formatTime(one.at) : one.at) },
    { head: 'to', cell: (one) => (out.terminal ? formatTime(one.to) : one.to) },
    { head: 'changes', cell: inWords },
  ]);
  out.note(`'${name}' can be rewound to any time since ${oldest}`);
}
