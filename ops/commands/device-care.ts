// `cistern device show | check | accept | revive`: one disk looked at closely, and what an operator says of it.
import type { Command } from 'commander';
import { standing } from '../lib/cluster.ts';
import { Failure } from '../lib/failure.ts';
import { formatAge, formatBytes } from '../lib/format.ts';
import { positive, positives } from '../lib/options.ts';
import { confirm, forEach, run, type Session, verb } from '../lib/session.ts';
import type { Device } from '../lib/types.ts';

export function registerCare(device: Command): void {
  verb(device, 'show', 'show all that is known of a device', { domain: false, examples: ['device show 3'] })
    .argument('<id>', "number, from 'cistern device list'", positive)
    .action(run(show));
  verb(device, 'check', 'try disks that failed a write: they take writes again if they are well', {
    domain: false,
    examples: ['device check 3'],
  })
    .argument('<id...>', "numbers, from 'cistern device list'", positives)
    .action(run((session, ids: number[]) => order(session, 'check', ids)));
  verb(device, 'accept', 'use disks that were set back to an earlier state; what they lack is repaired', {
    domain: false,
    examples: ['device accept 3'],
  })
    .argument('<id...>', "numbers, from 'cistern device list'", positives)
    .action(run((session, ids: number[]) => order(session, 'accept', ids)));
  verb(device, 'revive', 'take dead devices back: each replica is verified before it counts again', {
    domain: false,
    examples: ['device revive 3'],
  })
    .argument('<id...>', "numbers, from 'cistern device list'", positives)
    .option('--yes', 'do not ask')
    .action(run(revive));
}

async function revive(session: Session, ids: number[], { yes }: { yes?: boolean }): Promise<number> {
  const what = `device ${ids.join(', ')}`;
  await confirm(`What no file needs will be removed from ${what}; then new files go there again.`, yes);
  return order(session, 'revive', ids);
}

function order(session: Session, what: 'check' | 'accept' | 'revive', ids: number[]): Promise<number> {
  return forEach(
    session,
    ids,
    (id) => `cannot ${what} device ${id}`,
    async (id) => {
      await session.admin.send({ method: 'POST', path: `/v1/devices/${id}/${what}`, patience: 0 });
      if (session.out.json)
        await session.out.line(JSON.stringify({ [what === 'revive' ? 'reviving' : `${what}ed`]: id }));
    },
  );
}

async function show({ admin, out }: Session, id: number): Promise<undefined> {
  const { devices } = await admin.json<{ devices: Device[] }>({ method: 'GET', path: '/v1/devices' });
  const device = devices.find((one) => one.id === id);
  if (device === undefined) throw new Failure(`there is no device ${id}; see: cistern device list`);
  if (out.json) {
    await out.line(JSON.stringify(device));
    return;
  }
  const rows = [...described(device, out.terminal), ...scrubbed(device, out.terminal)];
  const width = Math.max(...rows.map(([name]) => name.length));
  for (const [name, value] of rows) {
    await out.line(out.terminal ? `${name.padEnd(width)}  ${out.name(value)}` : `${name}\t${value}`);
  }
}

type Row = [name: string, value: string];

function described(device: Device, forPeople: boolean): Row[] {
  const bytes = (count: number) => (forPeople ? formatBytes(count) : String(count));
  return [
    ['device', String(device.id)],
    ['host', device.host],
    ['disk', device.uuid],
    ['state', device.state],
    ['now', device.observed === 'down' ? 'down' : device.condition],
    ...(standing(device) === '' ? [] : [['standing', standing(device)] satisfies Row]),
    ...(device.why === undefined ? [] : [['why', device.why] satisfies Row]),
    ['weight', String(device.weight)],
    ['free', bytes(device.free)],
    ['total', bytes(device.total)],
    ['blobs', String(device.blobs)],
    ['errors', String(device.errors)],
    ['put aside', String(device.quarantined)],
  ];
}

function scrubbed({ scrub }: Device, forPeople: boolean): Row[] {
  if (scrub === undefined) return [];
  const time = (at: number | null) => {
    const text = at === null ? '-' : new Date(at).toISOString();
    return forPeople && at !== null ? formatAge(text) : text;
  };
  return [
    ['scrub every', scrub.days === 0 ? 'never' : `${scrub.days} days`],
    ['pass began', time(scrub.began)],
    ['pass read', `${scrub.blobs} blobs, ${forPeople ? formatBytes(scrub.bytes) : scrub.bytes}`],
    ['pass at fid', scrub.position === null ? '-' : String(scrub.position)],
    ['last full pass', time(scrub.completed)],
    ['not verifiable', String(scrub.unverified)],
    ['bad found, ever', String(scrub.found)],
  ];
}
