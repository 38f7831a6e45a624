import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../test/support/wait.ts';
import { startTestTracker, type TestTracker } from '../testing.ts';
import { createDomain } from './domains.ts';
import { ClusterState, type DeviceState, type HostState } from './state.ts';

let tracker: TestTracker;
beforeAll(async () => {
  tracker = await startTestTracker();
});
afterAll(() => tracker.end());

const run = (text: string, values: unknown[] = []) => tracker.db.query({ name: '', text }, values);

/** The device, as the database has it now. */
async function look(id: number): Promise<DeviceState> {
  await tracker.state.refresh();
  return tracker.state.device(id) as DeviceState;
}

describe('a device', () => {
  it('takes writes while its host is up, it is alive and ok, and its clock is right', async () => {
    const { registration } = await tracker.join('well', [{ id: 10 }]);
    expect(await look(10)).toMatchObject({ up: true, readable: true, writable: true, condition: 'ok' });

    for (const state of ['readonly', 'drain'] as const) {
      await run('UPDATE devices SET state = $1 WHERE id = 10', [state]);
      expect(await look(10)).toMatchObject({ state, readable: true, writable: false });
    }
    await run(`UPDATE devices SET state = 'dead' WHERE id = 10`);
    expect(await look(10)).toMatchObject({ up: true, readable: false, writable: false });
    await run(`UPDATE devices SET state = 'alive' WHERE id = 10`);

    const beat = (condition: 'readonly' | 'out', why: string) => ({
      host: 'well',
      session: registration.session,
      clock: Date.now(),
      devices: registration.devices.map((device) => ({ ...device, condition, why })),
      findings: [],
    });
    await tracker.callAsNode('heartbeat', 'well', beat('readonly', 'the disk failed a write'));
    expect(await look(10)).toMatchObject({ readable: true, writable: false, why: 'the disk failed a write' });
    await tracker.callAsNode('heartbeat', 'well', beat('out', 'it is gone'));
    expect(await look(10)).toMatchObject({ up: false, readable: false, writable: false });
  });

  it('takes no writes if the clock of its host is off by more than 5 s', async () => {
    const { registration } = await tracker.join('late', [{ id: 11 }]);
    const beat = (offset: number) => ({
      host: 'late',
      session: registration.session,
      clock: tracker.state.now() + offset,
      devices: registration.devices,
      findings: [],
    });
    await tracker.callAsNode('heartbeat', 'late', beat(-7_000));
    expect(await look(11)).toMatchObject({ readable: true, writable: false });
    expect(tracker.state.host('late')?.clockOffsetMs).toBeGreaterThan(-8_000);
    expect(tracker.state.host('late')?.clockOffsetMs).toBeLessThan(-6_900);
    await tracker.callAsNode('heartbeat', 'late', beat(4_000));
    expect((await look(11)).writable).toBe(true);
  });

  it('is out if its host reports another disk in its place, or does not report it', async () => {
    const { registration } = await tracker.join('swapped', [{ id: 12 }, { id: 13 }]);
    const [first] = registration.devices;
    await tracker.callAsNode('heartbeat', 'swapped', {
      host: 'swapped',
      session: registration.session,
      clock: Date.now(),
      devices: [{ ...(first as (typeof registration.devices)[0]), uuid: randomUUID() }],
      findings: [],
    });
    expect(await look(12)).toMatchObject({ condition: 'out', readable: false });
    expect((await look(12)).why).toContain('another disk');
    expect(await look(13)).toMatchObject({ condition: 'out', readable: false });
  });

  it('is suspect for some seconds after a request to it failed', () => {
    expect(tracker.state.isSuspect(10)).toBe(false);
    tracker.state.suspect(10);
    expect(tracker.state.isSuspect(10)).toBe(true);
    expect(tracker.state.isSuspect(11)).toBe(false);
  });
});

describe('a host', () => {
  it("is down when its heartbeat is too old by the database's clock", async () => {
    await tracker.join('quiet', [{ id: 20 }]);
    expect((await look(20)).up).toBe(true);
    await run(
      `UPDATE heartbeats SET at = now() - interval '1 hour'
       WHERE host_id = (SELECT id FROM hosts WHERE name = 'quiet')`,
    );
    // A busy machine may have kept the state from being read for so long that all hosts have a grace.
    await waitFor(async () => !(await look(20)).up, { what: 'the host to be down', timeout: 25_000 });
    expect(await look(20)).toMatchObject({ up: false, readable: false, writable: false });
    expect(tracker.state.host('quiet')?.up).toBe(false);
  });

  it('counts as up after an outage of the database, until it had the time for a heartbeat', async () => {
    await tracker.join('patient', [{ id: 21 }]);
    await tracker.state.refresh();
    let away = false;
    const db = {
      writeSilence: 0,
      query: <Row extends object>(...args: Parameters<typeof tracker.db.query>) =>
        away ? Promise.reject(new Error('the database is away')) : tracker.db.query<Row>(...args),
      count: (...args: Parameters<typeof tracker.db.count>) => tracker.db.count(...args),
    };
    const state = await ClusterState.open({ db, log: tracker.log, downSeconds: 1, stateSeconds: 0.05 });
    const up = () => (state.host('patient') as HostState).up;
    try {
      expect(up()).toBe(true);
      away = true;
      // Longer than downSeconds: no heartbeat could be stored, and the last one grows too old.
      await new Promise((resolve) => setTimeout(resolve, 1_300));
      expect(up()).toBe(true);
      away = false;
      await state.refresh();
      expect(up()).toBe(true);
      // Then it has had its time, and is down if it did not use it.
      await waitFor(() => !up(), { what: 'a host without heartbeats to be down' });
    } finally {
      state.stop();
    }
  });
});

describe('domains and classes', () => {
  it('finds a domain that another tracker made just now, and says which one there is not', async () => {
    await createDomain(tracker.db, 'fresh', 30);
    const domain = await tracker.state.domain('fresh');
    expect(domain).toMatchObject({ name: 'fresh', trashDays: 30 });
    expect(tracker.state.domainById(domain.id)).toBe(domain);
    await expect(tracker.state.domain('other')).rejects.toMatchObject({ problem: 'domain-not-found' });
  });

  it('chooses the class by name, by the longest prefix, or default', async () => {
    await createDomain(tracker.db, 'classy', 30);
    const put = (name: string, prefixes: string[]) =>
      tracker.call('PUT', `/v1/domains/classy/classes/${name}`, { body: { prefixes } });
    await put('images', ['public/images/']);
    await put('styles', ['public/images/styles/', 'tmp/']);
    const domain = await tracker.state.domain('classy');
    const chosen = (key: string, name?: string) => tracker.state.classFor(domain, key, name).name;
    expect(chosen('public/images/cat.jpg')).toBe('images');
    expect(chosen('public/images/styles/cat.jpg')).toBe('styles');
    expect(chosen('tmp/a')).toBe('styles');
    expect(chosen('public/image')).toBe('default');
    expect(chosen('public/images/cat.jpg', 'default')).toBe('default');
    expect(() => chosen('a', 'none')).toThrow(expect.objectContaining({ problem: 'class-not-found' }));
    const styles = tracker.state.classFor(domain, 'tmp/a');
    expect(tracker.state.classById(styles.id)).toBe(styles);
  });
});

it("tells the database's time", async () => {
  const [row] = await tracker.db.query<{ now: number }>({
    name: '',
    text: 'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now',
  });
  expect(Math.abs(tracker.state.now() - (row?.now as number))).toBeLessThan(100);
});

it('sees with refresh() what was committed before the call, whatever was under way', async () => {
  const { state, db } = tracker;
  for (let i = 0; i < 20; i++) {
    void state.refresh();
    await createDomain(db, `seen-${i}`, i);
    await state.refresh();
    expect(state.domains().some((domain) => domain.name === `seen-${i}`)).toBe(true);
  }
});
