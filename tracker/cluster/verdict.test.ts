import { describe, expect, it } from 'vitest';
import type { ClassState, DeviceState, DomainState, HostState } from './state.ts';
import { judge, whyNotWritable } from './verdict.ts';

function host(name: string, more: Partial<HostState> = {}): HostState {
  return {
    id: Number(name.slice(1)),
    name,
    url: `http://${name}.test:7501`,
    zone: 'default',
    session: 's',
    previousSession: null,
    seen: new Date(),
    up: true,
    clockOffsetMs: 0,
    ...more,
  };
}

function device(id: number, on: HostState, more: Partial<DeviceState> = {}): DeviceState {
  const base = {
    uuid: '',
    weight: 100,
    reviving: false,
    revivedMs: null,
    total: 1000,
    blobs: 0,
    errors: 0,
    highestFid: 0,
    quarantined: 0,
  };
  const well = {
    state: 'alive',
    condition: 'ok',
    up: on.up,
    readable: on.up,
    writable: on.up,
    free: 500,
  } as const;
  return { id, host: on, ...base, ...well, ...more };
}

function domain(...classes: Partial<ClassState>[]): DomainState {
  const base: ClassState = {
    id: 1,
    domainId: 1,
    name: 'default',
    copies: 2,
    minCopies: 2,
    spread: 'host',
    prefixes: [],
    trash: true,
  };
  const made = classes.map((one) => ({ ...base, ...one }));
  return { id: 1, name: 'site', trashDays: 30, environment: null, created: new Date(), classes: made };
}

function look(devices: DeviceState[], more: object = {}, domains = [domain({})]) {
  const hosts = [...new Set(devices.map((one) => one.host))];
  const backlog = { underReplicated: 0, withoutCopy: 0, ...more };
  return judge({ hosts, devices, domains, backlog, missed: new Set(), databaseLatencyMs: 1, ...more });
}

const [h1, h2, h3] = [host('h1'), host('h2'), host('h3')];
const well = [device(1, h1), device(2, h2), device(3, h3)];

describe('judge', () => {
  it('finds a cluster healthy only if nothing is wrong', () => {
    expect(look(well)).toEqual({ verdict: 'healthy', reasons: [] });
  });

  it('names a host that is down, with the way to give it up', () => {
    const down = host('h3', { up: false });
    const { verdict, reasons } = look([
      device(1, h1),
      device(2, h2),
      device(3, down, { blobs: 30 }),
      device(4, down, { blobs: 12 }),
    ]);
    expect(verdict).toBe('degraded');
    expect(reasons).toEqual([
      {
        what: 'host h3 is down, and 42 copies with it',
        next: 'start its storage node; only if its disks are lost: cistern device dead 3 4',
      },
    ]);
  });

  it('says that copies of what is on a host that is down for long are made elsewhere', () => {
    const down = host('h3', { up: false });
    const devices = [device(1, h1), device(2, h2), device(3, down, { blobs: 30 })];
    const { reasons } = look(devices, { missed: new Set([3]) });
    expect(reasons[0]?.what).toBe('host h3 is down, and 30 copies with it; they are made elsewhere by now');
  });

  it('says that the disk of a dead device is back, until somebody has decided about it', () => {
    const back = device(4, h3, { state: 'dead', readable: false, writable: false });
    expect(look([...well, back]).reasons).toEqual([
      {
        what: 'device 4 (h3) is dead, but its disk answers: nothing on it is used',
        next: 'cistern device revive 4, or take the disk out and cistern device rm 4',
      },
    ]);
    expect(look([...well, { ...back, reviving: true }]).verdict).toBe('healthy');
    expect(look([...well, { ...back, up: false, condition: 'out' }]).verdict).toBe('healthy');
  });

  it('does not miss a host whose devices were all given up', () => {
    const down = host('h4', { up: false });
    expect(look([...well, device(4, down, { state: 'dead' })]).verdict).toBe('healthy');
  });

  it.each([
    [
      { condition: 'out', why: 'its marker is missing', up: false, readable: false, writable: false },
      'device 4 (h3) is out of service: its marker is missing',
    ],
    [
      { condition: 'readonly', why: 'a write failed', writable: false },
      'device 4 (h3) is read-only: a write failed',
    ],
    [{ free: 0 }, 'device 4 (h3) is full'],
    [{ free: 49 }, 'device 4 (h3) is nearly full'],
  ] as [Partial<DeviceState>, string][])('says of a device what is wrong with it: %o', (more, what) => {
    const { verdict, reasons } = look([...well, device(4, h3, more)]);
    expect(verdict).toBe('degraded');
    expect(reasons.map((reason) => reason.what)).toEqual([what]);
  });

  it('says how far a clock is off', () => {
    const late = host('h3', { clockOffsetMs: -7_200 });
    const { reasons } = look([
      device(1, h1),
      device(2, h2),
      device(3, late, { condition: 'readonly', why: 'clock is off by -7 s', writable: false }),
    ]);
    // Of the host alone: nobody should think that its disk is to be given up.
    expect(reasons.map((reason) => reason.what)).toEqual([
      'the clock of host h3 is off by -7 s, so it is given no new files',
    ]);
  });

  it('tells files below their copies from those without any', () => {
    expect(look(well, { underReplicated: 1 })).toEqual({
      verdict: 'degraded',
      reasons: [{ what: '1 file is below its copies', next: 'cistern repair' }],
    });
    const { verdict, reasons } = look(well, { underReplicated: 5, withoutCopy: 2 });
    expect(verdict).toBe('unhealthy');
    expect(reasons.map((reason) => reason.what)).toEqual([
      '2 files have no good copy that can be read now',
      '3 files are below their copies',
    ]);
  });

  it('is unhealthy when uploads are refused, of all classes or of some', () => {
    const alone = look([device(1, h1)]);
    expect(alone.verdict).toBe('unhealthy');
    expect(alone.reasons[0]?.what).toContain('uploads are refused');
    const strict = look(well, {}, [domain({}, { name: 'precious', copies: 4, minCopies: 4 })]);
    expect(strict.verdict).toBe('unhealthy');
    expect(strict.reasons[0]?.what).toContain('uploads of class precious in domain site are refused');
  });

  it('notices a slow database', () => {
    const { verdict, reasons } = look(well, { databaseLatencyMs: 431 });
    expect(verdict).toBe('degraded');
    expect(reasons[0]?.what).toContain('431 ms');
  });

  it('wants the database backed up', () => {
    const { verdict, reasons } = look(well, { backupOverdue: true });
    expect(verdict).toBe('degraded');
    expect(reasons[0]?.next).toBe('cistern backup');
  });
});

describe('whyNotWritable', () => {
  it('wants as many hosts as the least demanding class, or one', () => {
    expect(whyNotWritable(well, [domain({ minCopies: 3 })])).toBeUndefined();
    expect(whyNotWritable([device(1, h1), device(2, h1)], [domain({})])).toBe(
      '1 host can take new files, and an upload needs 2',
    );
    expect(whyNotWritable([device(1, h1)], [domain({}, { minCopies: 1 })])).toBeUndefined();
    expect(whyNotWritable([device(1, h1)], [])).toBeUndefined();
    expect(whyNotWritable([], [])).toBeDefined();
    expect(whyNotWritable([device(1, h1, { free: 0 })], [])).toBeDefined();
  });
});
