// `cistern device`: the disks, and what they are to be used for.
import type { Command } from 'commander';
import { deviceColumns } from '../lib/cluster.ts';
import { natural, positive, positives } from '../lib/options.ts';
import { confirm, forEach, run, type Session, verb } from '../lib/session.ts';
import type { Device } from '../lib/types.ts';
import { registerCare } from './device-care.ts';

const states = {
  alive: 'take reads and writes',
  readonly: 'take reads only; nothing is moved away',
  drain: 'take reads only, and move all of it to other devices',
  dead: 'never use again: what it held is given up, and copied from elsewhere',
} as const;

export function register(program: Command): void {
  const device = program
    .command('device')
    .description('list devices, say what they are used for, or remove them');
  verb(device, 'list', 'list the devices', { domain: false, examples: ['device list'] }).action(run(list));
  for (const [state, about] of Object.entries(states)) {
    const command = verb(device, state, about, { domain: false, examples: [`device ${state} 3`] });
    command.argument('<id...>', "numbers, from 'cistern device list'", positives);
    if (state === 'dead') command.option('--yes', 'do not ask');
    command.action(
      run((session, ids: number[], { yes }: { yes?: boolean }) => setState(session, state, ids, yes)),
    );
  }
  verb(device, 'weight', 'set how large a share of new files it gets, beside its free space', {
    domain: false,
    examples: [
      'device weight 3 50    half the share of the others, which have 100',
      'device weight 3 0     no new files',
    ],
  })
    .argument('<id>', "number, from 'cistern device list'", positive)
    .argument('<weight>', '0 to 1000', natural)
    .action(run((session, id: number, weight: number) => change(session, [id], { weight })));
  verb(
    device,
    'rm',
    'remove devices that are dead, or drained and empty, and that nothing refers to any more',
    {
      domain: false,
      examples: ['device rm 3'],
    },
  )
    .argument('<id...>', "numbers, from 'cistern device list'", positives)
    .action(run(remove));
  registerCare(device);
}

async function devices(session: Session): Promise<Device[]> {
  return (await session.admin.json<{ devices: Device[] }>({ method: 'GET', path: '/v1/devices' })).devices;
}

async function list(session: Session): Promise<undefined> {
  await session.out.list(await devices(session), deviceColumns(session.out));
}

async function setState(
  session: Session,
  state: string,
  ids: number[],
  yes: boolean | undefined,
): Promise<number> {
  if (state === 'dead' && !yes) {
    const named = (await devices(session)).filter((device) => ids.includes(device.id));
    const shown = named.map((d) => `${d.id} (on ${d.host}, ${d.blobs} blobs, ${d.observed})`).join(', ');
    await confirm(`Nothing on device ${shown || ids.join(', ')} will be used again.`, yes);
  }
  return change(session, ids, { state });
}

function change(session: Session, ids: number[], json: { state?: string; weight?: number }): Promise<number> {
  return forEach(
    session,
    ids,
    (id) => `cannot change device ${id}`,
    async (id) => {
      const device = await session.admin.json<Device>({
        method: 'PATCH',
        path: `/v1/devices/${id}`,
        json,
        repeatable: true,
      });
      if (session.out.json) await session.out.line(JSON.stringify(device));
    },
  );
}

function remove(session: Session, ids: number[]): Promise<number> {
  return forEach(
    session,
    ids,
    (id) => `cannot remove device ${id}`,
    async (id) => {
      await session.admin.send({ method: 'DELETE', path: `/v1/devices/${id}` });
      if (session.out.json) await session.out.line(JSON.stringify({ deleted: id }));
    },
  );
}
