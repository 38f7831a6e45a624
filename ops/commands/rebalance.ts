// `cistern rebalance`: how evenly the devices are filled, what is moved for that, and whether it may be.
import type { Command } from 'commander';
import { formatAge, formatBytes, plural } from '../lib/format.ts';
import type { Column } from '../lib/output.ts';
import { run, type Session, verb } from '../lib/session.ts';
import type { Rebalance, RebalanceProgress } from '../lib/types.ts';

export function register(program: Command): void {
  const rebalance = program
    .command('rebalance')
    .description('how evenly devices are filled; let data be moved, or stop that');
  verb(rebalance, 'status', 'how evenly devices are filled, and what is moved for that', {
    domain: false,
    examples: ['rebalance status'],
  }).action(run(async (session) => show(session, await ask(session))));
  verb(rebalance, 'on', 'move data from fuller devices to emptier ones, whenever it is needed', {
    domain: false,
    examples: ['rebalance on'],
  }).action(run(async (session) => show(session, await ask(session, true))));
  verb(rebalance, 'off', 'move nothing from now on', {
    domain: false,
    examples: ['rebalance off'],
  }).action(run(async (session) => show(session, await ask(session, false))));
}

function ask({ admin }: Session, enabled?: boolean): Promise<Rebalance> {
  const path = '/v1/rebalance';
  return admin.json<Rebalance>(
    enabled === undefined ? { method: 'GET', path } : { method: 'PATCH', path, json: { enabled } },
  );
}

const percent = (part: number) => `${(part * 100).toFixed(1)} %`;

const columns: Column<Rebalance['devices'][number]>[] = [
  { head: 'DEVICE', cell: ({ id }) => String(id) },
  { head: 'HOST', cell: ({ host }) => host },
  { head: 'FILL', right: true, cell: ({ fill }) => percent(fill) },
];

async function show({ out }: Session, found: Rebalance): Promise<undefined> {
  if (out.json) return out.item(found, () => '').then(() => undefined);
  await out.line(describeRebalance(found));
  if (found.why !== null) await out.line(out.name(found.why));
  await out.line(`mean fill ${percent(found.mean)}, band ${percent(found.band)} to both sides`);
  await out.list(found.devices, columns);
}

/** One line: what it does, or did last. */
export function describeRebalance({
  enabled,
  started,
  finished,
  movedBlobs,
  movedBytes,
}: RebalanceProgress): string {
  const moved = `${plural(movedBlobs, 'file')}, ${formatBytes(movedBytes)} moved`;
  const off = enabled ? '' : 'switched off; ';
  if (started !== null) return `${off}began ${formatAge(started)}, ${moved}`;
  return `${off}${finished === null ? 'nothing was moved yet' : `ended ${formatAge(finished)}, ${moved}`}`;
}
