// Is the cluster well, and if not, why, and what is to be done: decided in one place, from what was looked at just now.
import type { RepairSummary } from '../replication/summary.ts';
import { MAX_CLOCK_OFFSET_MS } from './snapshot.ts';
import type { DeviceState, DomainState, HostState } from './state.ts';

/** `degraded`: everything can be read and written, but it is less safe than it should be. `unhealthy`: not even that. */
export type Verdict = 'healthy' | 'degraded' | 'unhealthy';

export interface Reason {
  what: string;
  /** The next command to run, or null if there is none. */
  next: string | null;
}

export interface Findings {
  hosts: readonly HostState[];
  devices: readonly DeviceState[];
  domains: readonly DomainState[];
  /** Devices that are down for so long that copies of what they hold are made elsewhere. */
  missed: ReadonlySet<number>;
  backlog: Pick<RepairSummary, 'underReplicated' | 'withoutCopy'>;
  databaseLatencyMs: number;
  /** Why the database takes no writes, as a sentence's end; undefined: it does. */
  databaseReadOnly?: string | undefined;
  /** True if backups are to be made, and the newest is older than two of their intervals. */
  backupOverdue?: boolean;
}

const SLOW_DATABASE_MS = 100;
const NEARLY_FULL = 0.05;

export function judge(findings: Findings): { verdict: Verdict; reasons: Reason[] } {
  const grave = [...lostFiles(findings), ...noWrites(findings)];
  const mild = [
    ...hostReasons(findings),
    ...findings.devices.flatMap(deviceReasons),
    ...missingCopies(findings),
    ...slowDatabase(findings),
    ...oldBackup(findings),
  ];
  const verdict = grave.length > 0 ? 'unhealthy' : mild.length > 0 ? 'degraded' : 'healthy';
  return { verdict, reasons: [...grave, ...mild] };
}

/**
 * Why uploads cannot be stored now: fewer hosts take writes than the least demanding class wants before it
 * acknowledges one. Undefined if they can.
 */
export function whyNotWritable(devices: readonly DeviceState[], domains: readonly DomainState[]) {
  const able = writableHosts(devices);
  const needed = domains.flatMap(({ classes }) => classes.map((one) => one.minCopies));
  const least = needed.length === 0 ? 1 : Math.min(...needed);
  if (able >= least) return undefined;
  return `${count(able, 'host')} can take new files, and an upload needs ${least}`;
}

function lostFiles({ backlog }: Findings): Reason[] {
  if (backlog.withoutCopy === 0) return [];
  const verb = backlog.withoutCopy === 1 ? 'has' : 'have';
  return [
    {
      what: `${count(backlog.withoutCopy, 'file')} ${verb} no good copy that can be read now`,
      next: 'cistern repair',
    },
  ];
}

function noWrites({ devices, domains, databaseReadOnly }: Findings): Reason[] {
  if (databaseReadOnly !== undefined) {
    return [
      { what: `nothing can be written: the database takes no writes: ${databaseReadOnly}`, next: null },
    ];
  }
  const why = whyNotWritable(devices, domains);
  if (why !== undefined) return [{ what: `uploads are refused: ${why}`, next: 'cistern device list' }];
  const able = writableHosts(devices);
  return domains.flatMap((domain) =>
    domain.classes.flatMap(({ name, minCopies }) =>
      minCopies <= able
        ? []
        : [
            {
              what: `uploads of class ${name} in domain ${domain.name} are refused: ${count(able, 'host')} can take new files, and they need ${minCopies}`,
              next: `cistern class set ${name} --domain ${domain.name} --min-copies ${Math.max(able, 1)}`,
            },
          ],
    ),
  );
}

function hostReasons({ hosts, devices, missed }: Findings): Reason[] {
  return hosts.flatMap((host): Reason[] => {
    const living = devices.filter((device) => device.host.id === host.id && device.state !== 'dead');
    if (!host.up) {
      // A host whose devices were all given up is not missed.
      if (living.length === 0) return [];
      const dead = `cistern device dead ${living.map(({ id }) => id).join(' ')}`;
      const copies = living.reduce((sum, { blobs }) => sum + blobs, 0);
      const elsewhere = living.some(({ id }) => missed.has(id)) ? '; they are made elsewhere by now' : '';
      const held =
        copies === 0 ? '' : `, and ${copies === 1 ? '1 copy' : `${copies} copies`} with it${elsewhere}`;
      const next = `start its storage node; only if its disks are lost: ${dead}`;
      return [{ what: `host ${host.name} is down${held}`, next }];
    }
    if (!clockIsOff(host)) return [];
    const seconds = Math.round(host.clockOffsetMs / 1000);
    return [
      {
        what: `the clock of host ${host.name} is off by ${seconds} s, so it is given no new files`,
        next: `set the clock of ${host.name} (NTP)`,
      },
    ];
  });
}

function clockIsOff({ clockOffsetMs }: HostState): boolean {
  return Math.abs(clockOffsetMs) > MAX_CLOCK_OFFSET_MS;
}

function deviceReasons(device: DeviceState): Reason[] {
  if (!device.host.up) return [];
  if (device.state === 'dead') {
    if (!device.up || device.reviving) return [];
    return [
      {
        what: `device ${device.id} (${device.host.name}) is dead, but its disk answers: nothing on it is used`,
        next: `cistern device revive ${device.id}, or take the disk out and cistern device rm ${device.id}`,
      },
    ];
  }
  // A wrong clock makes all of a host's devices read-only: that is said of the host, nothing is wrong with them.
  if (device.condition === 'readonly' && clockIsOff(device.host)) return [];
  const name = `device ${device.id} (${device.host.name})`;
  if (device.condition !== 'ok') {
    const what = device.condition === 'out' ? 'out of service' : 'read-only';
    const why = device.why === undefined ? '' : `: ${device.why}`;
    return [
      {
        what: `${name} is ${what}${why}`,
        next:
          commandIn(device.why) ??
          `mend it on host ${device.host.name}; only if its disk is lost: cistern device dead ${device.id}`,
      },
    ];
  }
  if (device.state !== 'alive' || device.free >= device.total * NEARLY_FULL) return [];
  const full = device.free === 0 ? 'full' : 'nearly full';
  return [
    { what: `${name} is ${full}`, next: 'add a device to a storage node (CISTERN_DEVICES), or delete files' },
  ];
}

/** Some reasons end with the command that helps. */
function commandIn(why = ''): string | undefined {
  return /cistern device \w+ \d+$/.exec(why)?.[0];
}

function missingCopies({ backlog: { underReplicated, withoutCopy } }: Findings): Reason[] {
  const some = underReplicated - withoutCopy;
  if (some <= 0) return [];
  return [
    {
      what: `${count(some, 'file')} ${some === 1 ? 'is below its' : 'are below their'} copies`,
      next: 'cistern repair',
    },
  ];
}

function slowDatabase({ databaseLatencyMs }: Findings): Reason[] {
  if (databaseLatencyMs < SLOW_DATABASE_MS) return [];
  return [
    { what: `the database is slow: it took ${Math.round(databaseLatencyMs)} ms to answer`, next: null },
  ];
}

function oldBackup({ backupOverdue }: Findings): Reason[] {
  if (!backupOverdue) return [];
  return [{ what: 'the database was not backed up for two intervals', next: 'cistern backup' }];
}

function writableHosts(devices: readonly DeviceState[]): number {
  const able = devices.filter((device) => device.writable && device.weight > 0 && device.free > 0);
  return new Set(able.map((device) => device.host.id)).size;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
