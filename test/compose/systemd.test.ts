// The units for systemd on a clean root, by the commands of docs/production.md: a container whose first process is
// systemd, with PostgreSQL as Debian has it.
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GenericContainer, type StartedTestContainer } from 'testcontainers';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { blockOf } from '../support/documents.ts';
import { lacksRoot, needs } from '../support/needs.ts';
import { waitFor } from '../support/wait.ts';
import { lacksEngine, outputOf } from './engine.ts';
import { buildImage, install, removeImages } from './images.ts';
import { packNpm } from './pack.ts';

const IMAGE = 'cistern-test-systemd';
const lack = (await lacksEngine()) ?? lacksRoot();
const UNITS = ['cistern-tracker', 'cistern-storage-node'];
const scratch = mkdtempSync(join(tmpdir(), 'cistern-systemd-'));
let machine: StartedTestContainer | undefined;

/** A machine of its own: a container whose first process is systemd. */
class Machine extends GenericContainer {
  constructor(image: string) {
    super(image);
    this.withCommand(['/sbin/init'])
      .withTmpFs({ '/run': '', '/tmp': 'exec' })
      .withAddedCapabilities('SYS_ADMIN')
      .withSecurityOpt('seccomp=unconfined', 'apparmor=unconfined')
      .withBindMounts([{ source: '/sys/fs/cgroup', target: '/sys/fs/cgroup' }]);
    // testcontainers has no method for it.
    Object.assign(this.hostConfig, { CgroupnsMode: 'host' });
  }
}

async function run(script: string): Promise<string> {
  if (machine === undefined) throw new Error('the machine does not run');
  return outputOf(await machine.exec(['bash', '-euo', 'pipefail', '-c', script]));
}
const active = (unit: string) => run(`systemctl is-active ${unit} || true`).then((state) => state.trim());
const shows = (unit: string, property: string) =>
  run(`systemctl show --value --property ${property} ${unit}`).then((value) => value.trim());
const cistern = (...args: string[]) =>
  run(`export CISTERN_URL=http://127.0.0.1:7500 CISTERN_DOMAIN=www CISTERN_TOKEN=$(cat /etc/cistern/admin.token)
    cistern ${args.join(' ')}`);

const block = (line: string) => blockOf('docs/production.md', 'sh', line);

beforeAll(async () => {
  if (lack !== undefined) return;
  await packNpm(scratch);
  const context = join(scratch, 'image');
  const [tarball] = readdirSync(scratch).filter((name) => name.endsWith('.tgz')) as [string];
  cpSync(join(scratch, tarball), join(context, 'cistern.tgz'));
  await buildImage(IMAGE, context, [
    'FROM node:24-bookworm-slim',
    install('systemd', 'systemd-sysv', 'dbus', 'postgresql', 'openssl'),
    'RUN systemctl mask systemd-logind.service systemd-udevd.service getty.target console-getty.service',
    'COPY cistern.tgz /tmp/',
    'RUN npm install --global --no-fund --no-audit /tmp/cistern.tgz',
  ]);
  machine = await new Machine(IMAGE).start();
  const running = async () => /running|degraded/.test(await run('systemctl is-system-running || true'));
  await waitFor(running, { what: 'systemd to run', timeout: 60_000 });
  // As systemd has it on a machine of its own; credentials come into a service by a mount.
  await run('mount --make-rshared /');
});
beforeEach((context) => needs(context, lack));
afterEach(async ({ task }) => {
  if (task.result?.state === 'fail' && machine !== undefined)
    process.stderr.write(await run('journalctl --no-pager --lines 60'));
});
afterAll(async () => {
  await machine?.stop();
  if (lack === undefined) await removeImages(IMAGE);
  rmSync(scratch, { recursive: true, force: true });
});

it('are installed and started by the commands of the documentation', async () => {
  await run(`systemctl start postgresql
    cd / && runuser -u postgres -- psql -qc "CREATE ROLE cistern LOGIN PASSWORD 'secret'" -c 'CREATE DATABASE cistern OWNER cistern'`);
  await run(block('cistern.sysusers.conf').replace(':…@db1,db2/', ':secret@127.0.0.1/'));
  await run(`mkdir -p /srv/cistern/dev1
    echo CISTERN_LISTEN=127.0.0.1 >/etc/cistern/tracker.env
    printf '%s\n' CISTERN_LISTEN=127.0.0.1 CISTERN_HOST=h1 CISTERN_TRACKERS=http://127.0.0.1:7500 \
      CISTERN_DEVICES=/srv/cistern/dev1 CISTERN_RESERVE_BYTES=1048576 >/etc/cistern/storage-node.env`);
  const start = block('systemctl enable --now').replace(' /srv/cistern/dev2', '');
  for (const unit of UNITS) await run(start.replace('cistern-tracker ', `${unit} `));
  const made = () =>
    cistern('domain', 'add', 'www').then(
      () => true,
      () => false,
    );
  await waitFor(made, { what: 'a tracker', timeout: 60_000, every: 1_000 });
  await cistern('class', 'set', 'default', '--copies', '1', '--min-copies', '1');
  const healthy = () =>
    cistern('status').then(
      (said) => said.startsWith('verdict\thealthy'),
      () => false,
    );
  await waitFor(healthy, { what: 'a healthy cluster', timeout: 60_000, every: 1_000 });
  await cistern('put', '/etc/os-release', 'files/os-release');
  expect(await cistern('cat', 'files/os-release')).toContain('Debian');
});

it.each(UNITS)(
  '%s reads its certificates again, comes back when it is killed, and ends cleanly',
  async (unit) => {
    await run(`systemctl reload ${unit}`);
    expect(await active(unit)).toBe('active');
    const killed = await shows(unit, 'MainPID');
    await run(`systemctl kill --signal KILL ${unit}`);
    const again = async () => {
      const pid = await shows(unit, 'MainPID');
      return pid !== '0' && pid !== killed && (await active(unit)) === 'active';
    };
    await waitFor(again, { what: `${unit} to run again`, timeout: 30_000 });
    expect(await shows(unit, 'NRestarts')).toBe('1');
    await run(`systemctl stop ${unit}`);
    expect(await shows(unit, 'Result')).toBe('success');
  },
);

it.each(UNITS)('%s is not started again and again with a setting that is wrong', async (unit) => {
  await run(`printf '[Service]\nEnvironment=CISTERN_LOG_LEVEL=loud\n' | install -D /dev/stdin /run/systemd/system/${unit}.service.d/wrong.conf
    systemctl daemon-reload; systemctl start ${unit}`);
  await waitFor(async () => (await active(unit)) === 'failed', {
    what: `${unit} to give up`,
    timeout: 30_000,
  });
  expect(await shows(unit, 'NRestarts')).toBe('0');
  expect(await run(`journalctl --unit ${unit} --no-pager --lines 5`)).toContain('CISTERN_LOG_LEVEL');
});
