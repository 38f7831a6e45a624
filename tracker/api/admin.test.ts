import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestTracker, type TestTracker } from '../testing.ts';

let tracker: TestTracker;
beforeAll(async () => {
  tracker = await startTestTracker();
});
afterAll(() => tracker.end());

const problem = (name: string, status: number) => ({
  status,
  body: { type: `urn:cistern:problem:${name}`, status },
});
const run = (text: string, values: unknown[] = []) => tracker.db.query({ name: '', text }, values);

async function makeDomain(name: string) {
  const answer = await tracker.call('POST', '/v1/domains', { body: { name } });
  expect(answer.status).toBe(201);
  return (await tracker.state.domain(name)).id;
}

/** A name in the domain's root, as an upload leaves it. */
async function addFile(domainId: number, fid: number, className = 'default') {
  await run(
    `INSERT INTO blobs (fid, state, want, size, sha256, created) VALUES ($1, 'live', 2, 1, '', true)`,
    [fid],
  );
  await run(
    `INSERT INTO names (dir_id, name, fid, class_id, content_type)
     SELECT d.id, 'f' || $2::bigint, $2::bigint, c.id, 'text/plain' FROM dirs d JOIN classes c ON c.domain_id = d.domain_id
     WHERE d.domain_id = $1 AND d.path = '' AND c.name = $3`,
    [domainId, fid, className],
  );
}

describe('domains', () => {
  it('are made with their class and root, shown, changed and listed', async () => {
    const made = await tracker.call('POST', '/v1/domains', { body: { name: 'site', trashDays: 7 } });
    expect(made).toMatchObject({ status: 201, body: { name: 'site', trashDays: 7 } });
    expect(made.headers.location).toBe('/v1/domains/site');
    expect(new Date(made.body.created).getTime()).toBeGreaterThan(Date.now() - 60_000);
    const changed = await tracker.call('PATCH', '/v1/domains/site', { body: { trashDays: 0 } });
    expect(changed).toMatchObject({ status: 200, body: { trashDays: 0 } });
    expect((await tracker.call('GET', '/v1/domains/site')).body.trashDays).toBe(0);
    const { body } = await tracker.call('GET', '/v1/domains');
    expect(body.domains.map((domain: { name: string }) => domain.name)).toContain('site');
    expect((await tracker.call('GET', '/v1/domains/site/directories/')).body).toEqual({ entries: [] });
    expect((await tracker.call('GET', '/v1/domains/site/classes')).body).toEqual({
      classes: [{ name: 'default', copies: 2, minCopies: 2, spread: 'host', prefixes: [], trash: true }],
    });
  });

  it.each([
    [{ name: 'Upper' }],
    [{ name: '' }],
    [{ name: '-x' }],
    [{ name: 'a/b' }],
    [{ name: 'x', trashDays: -1 }],
    [{ name: 'x', trashDays: 1.5 }],
    [{ name: 'x', other: 1 }],
    [{}],
    [[]],
  ])('are not made of %j', async (body) => {
    expect(await tracker.call('POST', '/v1/domains', { body })).toMatchObject(
      problem('invalid-request', 400),
    );
  });

  it('are made once, by one of many at the same time', async () => {
    const calls = Array.from({ length: 12 }, () =>
      tracker.call('POST', '/v1/domains', { body: { name: 'race' } }),
    );
    const answers = await Promise.all(calls);
    expect(answers.filter((answer) => answer.status === 201)).toHaveLength(1);
    expect(answers.filter((answer) => answer.status === 409)).toHaveLength(11);
    const roots = await run(`SELECT FROM dirs d JOIN domains m ON m.id = d.domain_id WHERE m.name = 'race'`);
    expect(roots).toHaveLength(1);
  });

  it('are deleted when empty, else only with all they hold', async () => {
    const id = await makeDomain('full');
    await addFile(id, 1);
    const url = '/v1/domains/full';
    expect(await tracker.call('DELETE', url)).toMatchObject(problem('directory-not-empty', 409));
    await run('DELETE FROM names WHERE fid = 1');
    // Its version is in the trash now, and could be restored.
    expect(await tracker.call('DELETE', url)).toMatchObject(problem('directory-not-empty', 409));
    expect((await tracker.call('DELETE', `${url}?recursive=true`)).status).toBe(204);
    expect(await tracker.call('GET', url)).toMatchObject(problem('domain-not-found', 404));
    expect(await tracker.call('DELETE', url)).toMatchObject(problem('domain-not-found', 404));
    await makeDomain('full');
    expect((await tracker.call('DELETE', url)).status).toBe(204);
  });

  it('hide all they held from a tracker that still knows them, when they are deleted', async () => {
    const id = await makeDomain('vanishing');
    await addFile(id, 2);
    const known = await tracker.state.domain('vanishing');
    expect(await tracker.namespace.find(known, 'f2')).toBeDefined();
    expect((await tracker.call('DELETE', '/v1/domains/vanishing?recursive=true')).status).toBe(204);
    expect(await tracker.namespace.find(known, 'f2')).toBeUndefined();
    await expect(
      tracker.namespace.makeDirectory(known, 'd', { parents: true, exclusive: false }),
    ).rejects.toMatchObject({ problem: 'domain-not-found' });
  });
});

describe('classes', () => {
  const url = (name: string) => `/v1/domains/classy/classes/${name}`;
  const put = (name: string, body: unknown) => tracker.call('PUT', url(name), { body });
  let domainId: number;
  beforeAll(async () => {
    domainId = await makeDomain('classy');
  });

  it('are made with defaults, and keep what a change does not name', async () => {
    expect(await put('thumbs', { trash: false, prefixes: ['styles/'] })).toMatchObject({
      status: 201,
      body: { name: 'thumbs', copies: 2, minCopies: 2, prefixes: ['styles/'], trash: false },
    });
    expect(await put('thumbs', { copies: 3, minCopies: 1 })).toMatchObject({
      status: 200,
      body: { name: 'thumbs', copies: 3, minCopies: 1, prefixes: ['styles/'], trash: false },
    });
  });

  it('are refused if they contradict themselves or each other', async () => {
    expect(await put('bad', { copies: 1 })).toMatchObject(problem('invalid-request', 400));
    expect(await put('bad', { copies: 17 })).toMatchObject(problem('invalid-request', 400));
    expect(await put('bad', { minCopies: 0 })).toMatchObject(problem('invalid-request', 400));
    expect(await put('bad', { prefixes: [''] })).toMatchObject(problem('invalid-request', 400));
    expect(await put('Bad', {})).toMatchObject(problem('invalid-request', 400));
    expect(await put('default', { prefixes: ['x/'] })).toMatchObject(problem('invalid-request', 400));
    await put('one', { prefixes: ['one/'] });
    expect(await put('two', { prefixes: ['two/', 'one/'] })).toMatchObject(problem('already-exists', 409));
    const { body } = await tracker.call('GET', '/v1/domains/classy/classes');
    expect(body.classes.map((one: { name: string }) => one.name)).toEqual(['default', 'one', 'thumbs']);
  });

  it('are deleted only if nothing is of them, and default never', async () => {
    await put('used', {});
    await addFile(domainId, 10, 'used');
    expect(await tracker.call('DELETE', url('used'))).toMatchObject(problem('state-conflict', 409));
    await run('DELETE FROM names WHERE fid = 10');
    expect(await tracker.call('DELETE', url('used'))).toMatchObject(problem('state-conflict', 409));
    await run('DELETE FROM trash WHERE fid = 10');
    expect((await tracker.call('DELETE', url('used'))).status).toBe(204);
    expect(await tracker.call('DELETE', url('used'))).toMatchObject(problem('class-not-found', 404));
    expect(await tracker.call('DELETE', url('default'))).toMatchObject(problem('state-conflict', 409));
  });
});

describe('hosts and devices', () => {
  it('are shown as they are', async () => {
    const { registration } = await tracker.join('h1', [{ id: 1, blobs: 5, errors: 2, highestFid: 77 }]);
    const { hosts } = (await tracker.call('GET', '/v1/hosts')).body;
    expect(hosts).toContainEqual({
      name: 'h1',
      url: 'http://h1.test:7501',
      zone: 'default',
      state: 'up',
      seen: expect.any(String),
      clockOffset: 0,
      devices: [1],
    });
    const { devices } = (await tracker.call('GET', '/v1/devices')).body;
    const [{ uuid, total, free }] = registration.devices as [(typeof registration.devices)[0]];
    const seen = { blobs: 5, errors: 2, highestFid: 77, total, free, uuid };
    const set = {
      state: 'alive',
      weight: 100,
      observed: 'up',
      condition: 'ok',
      missed: false,
      reviving: false,
      quarantined: 0,
    };
    expect(devices).toContainEqual({ id: 1, host: 'h1', ...seen, ...set });
  });

  it('are changed; a dead device only comes back by being revived', async () => {
    const { registration } = await tracker.join('h2', [{ id: 2 }]);
    const patch = (body: unknown) => tracker.call('PATCH', '/v1/devices/2', { body });
    expect(await patch({ weight: 0 })).toMatchObject({ status: 200, body: { weight: 0, state: 'alive' } });
    expect(await patch({ state: 'drain' })).toMatchObject({
      status: 200,
      body: { weight: 0, state: 'drain' },
    });
    expect(await patch({ state: 'alive', weight: 50 })).toMatchObject({
      status: 200,
      body: { state: 'alive' },
    });
    for (const body of [{ state: 'down' }, { weight: -1 }, { weight: 1001 }, { id: 3 }]) {
      expect(await patch(body)).toMatchObject(problem('invalid-request', 400));
    }
    expect(await patch({ state: 'dead' })).toMatchObject({ status: 200, body: { state: 'dead' } });
    for (const state of ['alive', 'readonly', 'drain']) {
      expect(await patch({ state })).toMatchObject(problem('state-conflict', 409));
    }
    expect(await patch({ state: 'dead', weight: 1 })).toMatchObject({ status: 200, body: { weight: 1 } });
    const revive = (id: number) => tracker.call('POST', `/v1/devices/${id}/revive`);
    expect(await revive(2)).toMatchObject({ status: 202, body: { state: 'dead', reviving: true } });
    expect(await revive(1)).toMatchObject(problem('state-conflict', 409));
    expect(await revive(999)).toMatchObject(problem('not-found', 404));
    // Its disk is gone again: there is nothing to compare.
    const gone = { ...registration.devices[0], condition: 'out', why: 'the directory is gone' } as const;
    await tracker.join('h2', [gone]);
    expect(await revive(2)).toMatchObject(problem('state-conflict', 409));
    expect(await tracker.call('PATCH', '/v1/devices/999', { body: {} })).toMatchObject(
      problem('not-found', 404),
    );
    const zone = await tracker.call('PATCH', '/v1/hosts/h2', { body: { zone: 'west' } });
    expect(zone).toMatchObject({ status: 200, body: { name: 'h2', zone: 'west', devices: [2] } });
    expect(await tracker.call('PATCH', '/v1/hosts/none', { body: { zone: 'west' } })).toMatchObject(
      problem('not-found', 404),
    );
  });

  it('of one host are given a state together, or none is', async () => {
    await tracker.join('h6', [{ id: 61 }, { id: 62 }, { id: 63 }]);
    await tracker.call('PATCH', '/v1/devices/63', { body: { state: 'dead' } });
    const states = async () =>
      (await tracker.call('GET', '/v1/devices')).body.devices
        .filter(({ host }: { host: string }) => host === 'h6')
        .map(({ state }: { state: string }) => state);
    const patch = (body: object) => tracker.call('PATCH', '/v1/hosts/h6', { body });
    expect((await patch({ state: 'drain', zone: 'east' })).body).toMatchObject({ zone: 'east' });
    expect(await states()).toEqual(['drain', 'drain', 'dead']);
    expect((await patch({ state: 'alive' })).status).toBe(200);
    expect(await states()).toEqual(['alive', 'alive', 'dead']);
    await run('UPDATE devices SET reviving = true WHERE id = 62');
    await patch({ state: 'readonly' });
    await run('UPDATE devices SET reviving = true WHERE id = 62');
    expect(await patch({ state: 'alive' })).toMatchObject(problem('state-conflict', 409));
    expect(await states()).toEqual(['readonly', 'readonly', 'dead']);
    expect(await tracker.call('PATCH', '/v1/hosts/none', { body: { state: 'drain' } })).toMatchObject(
      problem('not-found', 404),
    );
    await run('DELETE FROM devices WHERE id > 60');
  });

  it('are forgotten when nothing stands on them: device after its replicas, host after its devices', async () => {
    await tracker.join('h3', [{ id: 3 }]);
    const remove = () => tracker.call('DELETE', '/v1/devices/3');
    expect(await remove()).toMatchObject(problem('state-conflict', 409));
    await run(`INSERT INTO locations (fid, device_id, state) VALUES (100, 3, 'bad')`);
    await tracker.call('PATCH', '/v1/devices/3', { body: { state: 'dead' } });
    expect(await remove()).toMatchObject(problem('state-conflict', 409));
    expect(await tracker.call('DELETE', '/v1/hosts/h3')).toMatchObject(problem('state-conflict', 409));
    await run('DELETE FROM locations WHERE device_id = 3');
    // Its storage node would bring it back at once, as a new device.
    expect(await remove()).toMatchObject({
      status: 409,
      body: { detail: expect.stringContaining('Host h3 still has the disk of device 3 in use') },
    });
    await tracker.join('h3', []);
    expect((await remove()).status).toBe(204);
    expect(await remove()).toMatchObject(problem('not-found', 404));
    expect((await tracker.call('DELETE', '/v1/hosts/h3')).status).toBe(204);
    expect(await tracker.call('DELETE', '/v1/hosts/h3')).toMatchObject(problem('not-found', 404));
  });
});

describe('operation', () => {
  it('is summed up by status, with its reasons', async () => {
    await tracker.join('h4', [{ id: 4 }]);
    await tracker.join('h5', [{ id: 5 }]);
    // That the database is slow may be true of a busy machine.
    const reasonsOf = ({ reasons }: { reasons: { what: string }[] }) =>
      reasons.filter(({ what }) => !what.includes('database is slow'));
    const { status, body } = await tracker.call('GET', '/v1/status');
    expect(status).toBe(200);
    expect(reasonsOf(body)).toEqual([]);
    if (body.reasons.length === 0) expect(body.verdict).toBe('healthy');
    expect(body.cluster).toBe(tracker.state.clusterId);
    expect(body.database.server).toBe(new URL(tracker.database.url).host);
    expect(body.database.latencyMs).toBeGreaterThan(0);
    expect(body.database.size).toBeGreaterThan(1_000_000);
    expect(body.files).toMatchObject({ queued: 0, underReplicated: 0, withoutCopy: 0, oldestRepair: null });
    await run(
      `UPDATE heartbeats SET at = now() - interval '1 hour' WHERE host_id = (SELECT id FROM hosts WHERE name = 'h5')`,
    );
    // After the tracker itself could not read for long, hosts count as up until they had the time for a heartbeat.
    const later = async () => (await tracker.call('GET', '/v1/status')).body;
    const down = {
      what: 'host h5 is down',
      next: 'start its storage node; only if its disks are lost: cistern device dead 5',
    };
    await expect.poll(async () => reasonsOf(await later()), { timeout: 60_000 }).toEqual([down]);
    expect((await later()).verdict).toBe('degraded');
  });

  it('lists the trackers that are there', async () => {
    tracker.presence.start('http://tracker.test:7500');
    await expect
      .poll(async () => (await tracker.call('GET', '/v1/status')).body.trackers)
      .toEqual([
        {
          url: 'http://tracker.test:7500',
          version: expect.any(String),
          seen: expect.any(String),
          self: true,
        },
      ]);
  });

  it('is ready while enough hosts take uploads', async () => {
    expect(await tracker.call('GET', '/readyz')).toMatchObject({ status: 200 });
    await run(`UPDATE devices SET state = 'readonly' WHERE state = 'alive'`);
    await tracker.state.refresh();
    const { status, body } = await tracker.call('GET', '/readyz');
    expect(status).toBe(503);
    expect(body.why).toBe('Too few storage nodes: 0 hosts can take new files, and an upload needs 1.');
  });

  it('is measured', async () => {
    const { body } = await tracker.call('GET', '/metrics');
    expect(body).toMatch(/^cistern_hosts\{observed="up",service="tracker"\} \d/m);
    expect(body).toMatch(/^cistern_device_free_bytes\{host="h1",device="1",service="tracker"\} \d/m);
    expect(body).toMatch(
      /^cistern_devices\{state="dead",condition="out",readable="false",service="tracker"\} 1/m,
    );
  });
});

it('describes every route in OpenAPI, with its problems', async () => {
  const { status, body } = await tracker.call('GET', '/openapi.json');
  expect(status).toBe(200);
  const operations = Object.entries(body.paths).flatMap(([path, methods]) =>
    Object.entries(methods as Record<string, { summary?: string; responses: Record<string, unknown> }>).map(
      ([method, operation]) => ({ path, method, operation }),
    ),
  );
  for (const { path, method, operation } of operations) {
    expect(operation.summary, `${method} ${path}`).toBeTruthy();
    expect(Object.keys(operation.responses), `${method} ${path}`).toContain('401');
  }
  const paths = Object.keys(body.paths);
  expect(paths).toContain('/v1/domains/{domain}/files/{key}');
  expect(paths).toContain('/v1/domains/{domain}/directories/{path}');
  expect(paths).toContain('/v1/cluster/heartbeat');
});
