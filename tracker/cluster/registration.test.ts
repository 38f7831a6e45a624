import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { DeviceReport } from '../../services/protocol.ts';
import { report, startTestTracker, type TestTracker } from '../testing.ts';

let tracker: TestTracker;
beforeAll(async () => {
  tracker = await startTestTracker();
});
afterAll(() => tracker.end());

const run = (text: string, values: unknown[] = []) => tracker.db.query({ name: '', text }, values);

function beat(host: string, session: string, devices: DeviceReport[], more = {}) {
  return tracker.callAsNode('heartbeat', host, {
    host,
    session,
    clock: Date.now(),
    devices,
    findings: [],
    ...more,
  });
}

describe('a device is', () => {
  it('formatted if it is new and empty, accepted with its marker, and alive from then on', async () => {
    const empty = await tracker.join('new', [{ id: 1, uuid: null }]);
    expect(empty).toMatchObject({ status: 200, body: { cluster: tracker.state.clusterId } });
    expect(empty.body.devices).toEqual([{ id: 1, verdict: 'format' }]);
    expect(tracker.state.device(1)).toBeUndefined();
    const marked = await tracker.join('new', [{ id: 1 }]);
    expect(marked.body.devices).toEqual([{ id: 1, verdict: 'accepted' }]);
    expect(tracker.state.device(1)).toMatchObject({ state: 'alive', writable: true });
  });

  it('refused if it is known and its marker is missing, or it is another disk', async () => {
    const { registration } = await tracker.join('h2', [{ id: 2 }]);
    const unmounted = await tracker.join('h2', [{ id: 2, uuid: null }]);
    expect(unmounted.body.devices[0]).toMatchObject({ verdict: 'refused' });
    expect(unmounted.body.devices[0].why).toBe('its marker is missing: is the disk mounted?');
    const other = await tracker.join('h2', [{ id: 2 }]);
    expect(other.body.devices[0]).toMatchObject({ verdict: 'refused' });
    expect(other.body.devices[0].why).toContain('another disk');
    expect(tracker.state.device(2)).toMatchObject({ condition: 'out', readable: false });
    // The right disk is welcome again.
    const back = await tracker.join('h2', registration.devices);
    expect(back.body.devices).toEqual([{ id: 2, verdict: 'accepted' }]);
    expect(tracker.state.device(2)?.writable).toBe(true);
  });

  it('refused if its disk is known under another number', async () => {
    const { registration } = await tracker.join('h3', [{ id: 3 }]);
    const uuid = registration.devices[0]?.uuid as string;
    const { body } = await tracker.join('h3', [{ id: 33, uuid }]);
    expect(body.devices[0]).toMatchObject({
      verdict: 'refused',
      why: 'this disk is device 3: mount it there',
    });
  });

  it('moved with its disk to another host, but not while the former one serves it', async () => {
    const uuid = randomUUID();
    const { registration } = await tracker.join('from', [{ id: 4, uuid }]);
    const clone = await tracker.join('to', [{ id: 4, uuid }]);
    expect(clone.body.devices[0]).toMatchObject({ verdict: 'refused' });
    expect(tracker.state.device(4)?.host.name).toBe('from');

    const gone = registration.devices.map((device) => ({ ...device, condition: 'out' as const }));
    await beat('from', registration.session, gone);
    const moved = await tracker.join('to', [{ id: 4, uuid }]);
    expect(moved.body.devices).toEqual([{ id: 4, verdict: 'accepted' }]);
    expect(tracker.state.device(4)).toMatchObject({ host: { name: 'to' }, writable: true });
  });

  it('dead for ever, though its disk comes back', async () => {
    const { registration } = await tracker.join('h5', [{ id: 5 }]);
    await run(`UPDATE devices SET state = 'dead' WHERE id = 5`);
    const { body } = await tracker.join('h5', registration.devices);
    expect(body.devices).toEqual([{ id: 5, verdict: 'accepted' }]);
    expect(tracker.state.device(5)).toMatchObject({ state: 'dead', readable: false });
  });

  it('refused if its disk was set back, whether it or its host says so, until it is accepted', async () => {
    const uuid = randomUUID();
    const { registration } = await tracker.join('back', [{ id: 50, uuid, sequence: 5 }]);
    const at = (sequence: number) => tracker.join('back', [{ id: 50, uuid, sequence }]);
    expect((await at(5)).body.devices).toEqual([{ id: 50, verdict: 'accepted' }]);
    await beat('back', registration.session, [report({ id: 50, uuid, sequence: 9 })]);
    const { body, registration: again } = await at(6);
    // The beat was that of a session that is over.
    expect(body.devices).toEqual([{ id: 50, verdict: 'accepted' }]);
    await beat('back', again.session, [report({ id: 50, uuid, sequence: 9 })]);
    const back = await at(8);
    expect(back.body.devices[0]).toMatchObject({ verdict: 'refused' });
    expect(back.body.devices[0].why).toMatch(/set back .* cistern device accept 50$/);
    // What a disk that is out says of itself does not count.
    await beat('back', back.registration.session, [report({ id: 50, uuid, sequence: 20, condition: 'out' })]);
    expect((await at(9)).body.devices[0].verdict).toBe('accepted');
    expect((await at(0)).body.devices[0].verdict).toBe('refused');
    const accepted = await tracker.call('POST', '/v1/devices/50/accept');
    expect(accepted.status).toBe(204);
    expect((await at(0)).body.devices[0].verdict).toBe('accepted');
    expect((await tracker.call('POST', '/v1/devices/51/accept')).status).toBe(404);
  });
});

describe('a host', () => {
  it("has a URL that is no other host's, and no more than scheme and address", async () => {
    const url = 'http://same.test:7501';
    expect((await tracker.join('first', [], { url })).status).toBe(200);
    expect(await tracker.join('second', [], { url: `${url}/` })).toMatchObject({
      status: 409,
      body: { type: 'urn:cistern:problem:already-exists' },
    });
    expect(tracker.state.host('second')).toBeUndefined();
    for (const bad of ['http://a.test/path', 'ftp://a.test', 'http://a.test/?x=1']) {
      expect((await tracker.join('third', [], { url: bad })).status).toBe(400);
    }
  });

  it('keeps the session before the present one, and its zone if it names none', async () => {
    await tracker.join('again', [], { session: 'session-number-one', zone: 'east' });
    await tracker.join('again', [], { session: 'session-number-two' });
    await tracker.join('again', [], { session: 'session-number-two' });
    expect(tracker.state.host('again')).toMatchObject({
      session: 'session-number-two',
      previousSession: 'session-number-one',
      zone: 'east',
    });
  });

  it('needs a ticket of its own', async () => {
    const body = { host: 'mine', url: 'http://mine.test:1', session: randomUUID(), devices: [] };
    const ticket = (exp: number, host: string) => tracker.keyring.sign({ op: 'node', host, exp });
    const later = tracker.state.now() + 60_000;
    const post = (token: string | null) => tracker.call('POST', '/v1/cluster/register', { token, body });
    expect((await post(ticket(later, 'other'))).status).toBe(403);
    expect((await post(ticket(later - 120_000, 'mine'))).status).toBe(403);
    expect((await post(tracker.keyring.sign({ op: 'inventory', dev: 1, exp: later }))).status).toBe(403);
    expect((await post('nonsense')).status).toBe(403);
    expect((await post(null)).status).toBe(403);
    expect(tracker.state.host('mine')).toBeUndefined();
    expect((await post(ticket(later, 'mine'))).status).toBe(200);
  });
});

describe('a heartbeat', () => {
  it('of an unknown session is told to register, and changes nothing', async () => {
    const { registration } = await tracker.join('h6', [{ id: 6, free: 1000 }]);
    const changed = registration.devices.map((device) => ({ ...device, free: 1 }));
    const stranger = await beat('h6', 'another-session-of-it', changed);
    expect(stranger.body).toMatchObject({ register: true, cluster: tracker.state.clusterId });
    await tracker.state.refresh();
    expect(tracker.state.device(6)?.free).toBe(1000);
    const own = await beat('h6', registration.session, changed);
    expect(own.body.register).toBe(false);
    expect(Math.abs(own.body.clock - tracker.state.now())).toBeLessThan(1000);
    await tracker.state.refresh();
    expect(tracker.state.device(6)?.free).toBe(1);
  });

  it('never lowers the highest fid that its host has seen', async () => {
    const { registration } = await tracker.join('h7', [{ id: 7, highestFid: 900 }]);
    await beat('h7', registration.session, [report({ id: 7, highestFid: 100 })]);
    const rows = await run(
      `SELECT b.highest_fid FROM heartbeats b JOIN hosts h ON h.id = b.host_id WHERE h.name = 'h7'`,
    );
    expect(rows).toEqual([{ highest_fid: 900 }]);
  });

  it('reports the bad replicas that its host found on its own devices, and no others', async () => {
    const { registration } = await tracker.join('h8', [{ id: 8 }]);
    await tracker.join('h9', [{ id: 9 }]);
    const reported = vi.spyOn(tracker.replication, 'reportBad').mockResolvedValue(undefined);
    const findings = [
      { dev: 8, fid: 123, kind: 'corrupt' },
      { dev: 9, fid: 124, kind: 'missing' },
      { dev: 8, fid: 125, kind: 'unreadable' },
    ];
    await beat('h8', 'another-session-of-it', registration.devices, { findings });
    await beat('h8', registration.session, registration.devices, { findings });
    expect(reported.mock.calls).toEqual([
      [123, 8, 'corrupt'],
      [125, 8, 'unreadable'],
    ]);
  });
});

describe('a node that asks what its blobs should be', () => {
  it('is told of those that live, with a name if they have one; and only of its own accord', async () => {
    await tracker.join('asks', [{ id: 60 }]);
    const digest = '0123456789abcdef'.repeat(4);
    await run(
      `INSERT INTO blobs (fid, state, want, size, sha256, created)
        VALUES (70, 'live', 2, 7, decode($1, 'hex'), true), (71, 'gone', 2, 7, decode($1, 'hex'), true)`,
      [digest],
    );
    const body = { host: 'asks', fids: [70, 71, 72] };
    const ask = (host: string) => {
      const token = tracker.keyring.sign({ op: 'node', host, exp: tracker.state.now() + 60_000 });
      return tracker.call('POST', '/v1/cluster/blobs', { token, body });
    };
    expect((await ask('asks')).body).toEqual({ blobs: [{ fid: 70, size: 7, sha256: digest }] });
    expect((await ask('other')).status).toBe(403);
    await tracker.call('POST', '/v1/domains', { body: { name: 'site' } });
    await run(
      `INSERT INTO names (dir_id, name, fid, class_id, content_type)
        SELECT d.id, 'x.txt', 70, c.id, 'text/plain' FROM domains m
        JOIN dirs d ON d.domain_id = m.id AND d.path = '' JOIN classes c ON c.domain_id = m.id WHERE m.name = 'site'`,
    );
    expect((await ask('asks')).body.blobs[0]).toEqual({
      fid: 70,
      size: 7,
      sha256: digest,
      domain: 'site',
      key: 'x.txt',
      class: 'default',
    });
  });
});
