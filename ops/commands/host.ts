// `cistern host`: the machines that run storage nodes, and what all of a machine's disks are to be used for.
import type { Command } from 'commander';
import { deviceColumns, hostColumns } from '../lib/cluster.ts';
import { EXIT, Failure } from '../lib/failure.ts';
import { confirm, run, type Session, verb } from '../lib/session.ts';
import type { Device, Host } from '../lib/types.ts';

const states = {
  alive: 'all of its devices take reads and writes',
  readonly: 'all of its devices take reads only; nothing is moved away',
  drain: 'all of its devices take reads only, and what they hold is moved to other hosts',
  dead: 'never use its devices again: what they held is given up, and copied from elsewhere',
} as const;

export function register(program: Command): void {
  const host = program.command('host').description('list, change or remove hosts (they add themselves)');
  verb(host, 'list', 'list the hosts', { domain: false, examples: ['host list'] }).action(run(list));
  verb(host, 'show', 'show a host and its devices', { domain: false, examples: ['host show h1'] })
    .argument('<host>')
    .action(run(show));
  for (const [state, about] of Object.entries(states)) {
    const command = verb(host, state, about, { domain: false, examples: [`host ${state} h1`] });
    command.argument('<host>');
    if (state === 'dead') command.option('--yes', 'do not ask');
    command.action(
      run((session, name: string, { yes }: { yes?: boolean }) => setState(session, state, name, yes)),
    );
  }
  verb(host, 'zone', 'say what it shares with others: a rack, a room, a power line', {
    domain: false,
    examples: ['host zone h1 rack-a'],
  })
    .argument('<host>')
    .argument('<zone>')
    .action(run((session, name: string, zone: string) => change(session, name, { zone })));
  verb(host, 'rm', 'remove a host that has no devices left', { domain: false, examples: ['host rm h1'] })
    .argument('<host>')
    .action(run(remove));
}

async function hosts({ admin }: Session): Promise<Host[]> {
  return (await admin.json<{ hosts: Host[] }>({ method: 'GET', path: '/v1/hosts' })).hosts;
}

async function devicesOf({ admin }: Session, name: string): Promise<Device[]> {
  const { devices } = await admin.json<{ devices: Device[] }>({ method: 'GET', path: '/v1/devices' });
  return devices.filter(({ host }) => host === name);
}

async function list(session: Session): Promise<undefined> {
  await session.out.list(await hosts(session), hostColumns(session.out));
}

async function show(session: Session, name: string): Promise<undefined> {
  const { out } = session;
  const host = (await hosts(session)).find((one) => one.name === name);
  if (host === undefined) throw new Failure(`there is no host '${name}'; see: cistern host list`);
  const devices = await devicesOf(session, name);
  if (out.json) {
    await out.line(JSON.stringify({ ...host, devices }));
    return;
  }
  await out.list([host], hostColumns(out));
  await out.line('');
  await out.list(devices, deviceColumns(out));
}

async function setState(
  session: Session,
  state: string,
  name: string,
  yes: boolean | undefined,
): Promise<undefined> {
  if (state === 'dead' && !yes) {
    const devices = await devicesOf(session, name);
    const shown = devices.map((d) => `${d.id} (${d.blobs} blobs, ${d.observed})`).join(', ');
    await confirm(`Nothing on host ${name} will be used again: device ${shown || 'none'}.`, yes);
  }
  await change(session, name, { state });
}

async function change(
  session: Session,
  name: string,
  json: { zone?: string; state?: string },
): Promise<undefined> {
  const changed = await session.admin.json<Host>({
    method: 'PATCH',
    path: `/v1/hosts/${encodeURIComponent(name)}`,
    json,
    repeatable: true,
  });
  if (session.out.json) await session.out.line(JSON.stringify(changed));
}

async function remove(session: Session, name: string): Promise<number> {
  await session.admin.send({ method: 'DELETE', path: `/v1/hosts/${encodeURIComponent(name)}` });
  if (session.out.json) await session.out.line(JSON.stringify({ deleted: name }));
  return EXIT.ok;
}
