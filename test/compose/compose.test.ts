// `docker compose up` as users type it: the README's walk through, containers that are as closed as they say, networks
// that are cut in two, processes that die, disks that are full, a node on another machine, a rolling upgrade under load,
// and the loss of the database.
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { freePort } from '../../ops/up/ports.ts';
import { blockOf } from '../support/documents.ts';
import { lacksRoot, needs } from '../support/needs.ts';
import { waitFor } from '../support/wait.ts';
import { Client } from './client.ts';
import { COMPOSE, lacksEngine, run } from './engine.ts';
import { disconnect, during, kill, partition, pause } from './faults.ts';
import { fullVolumes, makeSmallVolumes } from './full-volume.ts';
import { buildImage, removeImages } from './images.ts';
import { monitoring, startMonitoring } from './monitoring.ts';
import { Stack } from './stack.ts';

const lack = await lacksEngine();
const stack = new Stack();
let client: Client;

beforeAll(async () => {
  if (lack !== undefined) return;
  Object.assign(stack.env, { CISTERN_IMAGE: `${stack.project}:1` });
  if (lacksRoot() === undefined) await makeSmallVolumes(stack);
  await stack.up();
  await startMonitoring(stack);
  client = new Client(stack.url, stack.adminToken);
});
beforeEach((context) => {
  needs(context, lack);
  client.forget();
});
afterEach(async ({ task }) => {
  if (task.result?.state === 'fail' && lack === undefined) process.stderr.write(await stack.logs());
});
afterAll(async () => {
  if (lack !== undefined) return;
  await stack.down();
  await removeImages(stack.project);
});

it('does what the README says', async () => {
  const block = blockOf('README.md', 'sh', 'docker compose up');
  // The same commands, as a project of our own, with what this machine has of Compose.
  const commands = block.replaceAll('docker compose', `${COMPOSE} --project-name ${stack.project}`);
  const printed = await run(
    'bash',
    ['-euo', 'pipefail', '-c', commands.replace('secrets.sh', '$& "$CISTERN_SECRETS"')],
    stack.env,
  );
  expect(printed).toContain('verdict\thealthy');
  expect(printed).toContain('hello from a container');
  await stack.healthy();
});

it('runs nothing as root, on file systems that cannot be written to, within limits', async () => {
  for (const service of ['postgres', 'tracker1', 'tracker2', 'node1', 'node2', 'node3', 'gateway']) {
    const { Config, HostConfig } = await stack.inspect(service);
    expect([service, HostConfig.ReadonlyRootfs, HostConfig.RestartPolicy?.Name]).toEqual([
      service,
      true,
      'unless-stopped',
    ]);
    expect(HostConfig.CapDrop).toEqual(['ALL']);
    expect(HostConfig.Memory).toBeGreaterThan(0);
    expect(HostConfig.NanoCpus).toBeGreaterThan(0);
    expect(['postgres', 'node', 'nginx']).toContain(Config.User);
    expect(Config.Env.join()).not.toContain(stack.adminToken);
    expect(await stack.exec(service, ['id', '-u'])).not.toBe('0\n');
  }
});

it('takes large files through the gateway', async () => {
  const content = 'x'.repeat(40 * 1024 * 1024);
  expect(await client.put('large.bin', content)).toBe(201);
  expect(await client.get('large.bin')).toBe(content);
});

it('starts again what was killed: nothing is lost, and what is asked again is done', async (context) => {
  needs(context, lacksRoot());
  client.patience = 60_000;
  for (const service of ['tracker1', 'node2', 'gateway', 'postgres']) {
    const { RestartCount } = await stack.inspect(service);
    client.start();
    try {
      await kill(stack, service);
      await waitFor(async () => (await stack.inspect(service)).RestartCount > RestartCount, {
        what: `a new ${service}`,
      });
      await stack.healthy(service);
    } finally {
      await client.stop();
    }
  }
  expect(client.failures).toEqual([]);
  expect(await client.lost()).toEqual([]);
  await stack.healthy();
});

describe('a network that is cut', () => {
  beforeEach((context) => needs(context, lacksRoot()));

  const says = (what: string) =>
    waitFor(async () => (await stack.status()).includes(what), {
      what: `status to say '${what}'`,
      timeout: 90_000,
      every: 500,
    });
  /** Files are written and read as if nothing were missing. */
  async function works(name: string): Promise<void> {
    for (let n = 0; n < 15; n++) await client.put(`cut/${name}-${n}.txt`, `number ${n}`);
    expect(await client.lost()).toEqual([]);
    expect(client.failures).toEqual([]);
  }

  it.each([
    ['tracker1', 'postgres', 'uploads go through the other tracker', 5432],
    ['tracker1', 'node1', 'uploads go to the other nodes, reads to the other copy', 7501],
    ['node1', 'node2', 'uploads do without it', 7501],
  ])('between %s and %s: %s', async (one, other, _what, port) => {
    const connect = () => stack.exec(one, ['bash', '-c', `</dev/tcp/${other}/${port}`]);
    await during(partition(stack, one, other), async () => {
      await expect(connect()).rejects.toThrow();
      await works(`${one}-${other}`);
    });
    await connect();
    await stack.healthy(one, other);
    expect(await client.lost()).toEqual([]);
  });

  it.each([
    ['stands still', 'node2', 'h2', pause],
    ['has no network', 'node3', 'h3', disconnect],
  ])(
    'a node that %s is done without, missed, and back with all it held',
    async (_what, node, host, fault) => {
      await during(fault(stack, node), async () => {
        await works(node);
        await says(`host ${host} is down`);
        await works(`${node}-missed`);
      });
      await says('verdict\thealthy');
      expect(await client.lost()).toEqual([]);
    },
  );
});

fullVolumes(stack, () => client);

it('takes in a node of another machine, and does without it when it is gone', async () => {
  // Of the network's bridge: where the containers reach this machine.
  const { Gateway: here, IPAddress: one } = await stack.endpoint('tracker1');
  const { IPAddress: two } = await stack.endpoint('tracker2');
  const port = await freePort();
  const env = {
    CISTERN_HOST: 'h4',
    CISTERN_DEVICE: '4',
    CISTERN_LISTEN: here,
    CISTERN_NODE_PORT: String(port),
    CISTERN_URL: `http://${here}:${port}`,
    CISTERN_TRACKERS: `http://${one}:7500,http://${two}:7500`,
  };
  const elsewhere = (...args: string[]) => stack.composeElsewhere('docker-compose.node.yml', env, ...args);
  await elsewhere('up', '--build', '--detach');
  try {
    await waitFor(async () => (await deviceFour())?.observed === 'up', {
      what: 'device 4 to be taken in',
      timeout: 60_000,
      every: 500,
    });
    const write = async () => {
      for (let n = 0; n < 5; n++) await client.put(`elsewhere/${randomUUID()}.txt`, 'on two machines');
      return ((await deviceFour())?.blobs ?? 0) > 0;
    };
    await waitFor(write, { what: 'files on device 4', timeout: 60_000 });
  } finally {
    await elsewhere('down', '--volumes', '--timeout', '1');
  }
  expect(await client.lost()).toEqual([]);
  await stack.cistern('device', 'dead', '--yes', '4');
  await stack.cistern('repair');
  const removed = async () => (await stack.cistern('device', 'rm', '4').catch(() => 'not yet')) !== 'not yet';
  await waitFor(removed, { what: 'nothing to refer to device 4', timeout: 60_000, every: 500 });
  await stack.cistern('host', 'rm', 'h4');
  expect(await stack.status()).toContain('verdict\thealthy');
});

/** Makes an image like the one that a service has, and yet a new one. */
async function makeNext(service: string): Promise<string> {
  const next = `${stack.project}:next-${service}`;
  const { Image } = (await stack.inspect(service)).Config;
  const lines = [`FROM ${Image}`, 'LABEL org.opencontainers.image.version=next'];
  await buildImage(next, join(stack.secrets, `next-${service}`), lines);
  return next;
}

/** Upgrades a service as docs/containers.md says. */
async function upgrade(service: string, image: string): Promise<void> {
  await stack.compose('up', '--detach', '--no-deps', '--no-build', service);
  await stack.healthy(service);
  expect((await stack.inspect(service)).Config.Image).toBe(image);
}

it('is upgraded service by service to a new image, without one failed request', async () => {
  const before = client.written.size;
  const next = await makeNext('tracker1');
  stack.env.CISTERN_IMAGE = next;
  client.start();
  try {
    for (const service of ['tracker1', 'tracker2', 'node1', 'node2', 'node3']) await upgrade(service, next);
  } finally {
    await client.stop();
  }
  expect(client.failures).toEqual([]);
  expect(client.written.size).toBeGreaterThan(before + 50);
  expect(await client.lost()).toEqual([]);
});

monitoring(stack);

it('and PostgreSQL and the gateway, of which there is one each: a client waits as the answers say', async () => {
  const postgres = await makeNext('postgres');
  const gateway = await makeNext('gateway');
  Object.assign(stack.env, { CISTERN_POSTGRES_IMAGE: postgres, CISTERN_GATEWAY_IMAGE: gateway });
  client.patience = 60_000;
  client.start();
  try {
    await upgrade('postgres', postgres);
    await upgrade('gateway', gateway);
  } finally {
    await client.stop();
  }
  expect(client.failures).toEqual([]);
  expect(client.waited).toBeGreaterThan(0);
  expect(await client.lost()).toEqual([]);
});

it('comes back from its backup when the volume of the database is lost', async () => {
  await client.put('before.txt', 'before the backup');
  await stack.cistern('backup');
  await client.put('after.txt', 'after the backup');
  await stack.compose('stop', 'tracker1', 'tracker2', 'postgres');
  await stack.compose('rm', '--force', 'postgres');
  await stack.removeVolume('database');
  await stack.compose('up', '--detach', '--no-deps', 'postgres');
  await stack.healthy('postgres');
  expect(await stack.cistern('restore', '--node', 'http://node1:7501')).toContain('0 files without bytes');
  await stack.compose('up', '--detach', '--no-build');
  await stack.healthy();
  expect(await client.lost()).toEqual([]);
});

async function deviceFour(): Promise<{ observed: string; blobs: number } | undefined> {
  const lines = (await stack.cistern('device', 'list', '--json')).trim().split('\n');
  return lines.map((line) => JSON.parse(line)).find(({ id }) => id === 4);
}
