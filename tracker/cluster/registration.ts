// Storage nodes make themselves known: they register at their start, with their devices, and then send heartbeats.
// A device is its disk, known by the uuid in the marker file: nothing else may take its place.
import { Problem } from '../../services/problems.ts';
import type { DeviceReport, Heartbeat, Registered, Registration } from '../../services/protocol.ts';
import type { Database, Queryable, Statement } from '../database/database.ts';
import { keepSequences, saveSequences, whySetBack } from './sequences.ts';

const hostAtUrl: Statement = {
  name: 'host-at-url',
  text: 'SELECT name FROM hosts WHERE url = $1 AND name <> $2',
};
const saveHost: Statement = {
  name: 'save-host',
  text: `INSERT INTO hosts (name, url, zone, session) VALUES ($1, $2, coalesce($3, 'default'), $4)
    ON CONFLICT (name) DO UPDATE SET url = excluded.url, zone = coalesce($3, hosts.zone), session = excluded.session,
      previous_session =
        CASE WHEN hosts.session = excluded.session THEN hosts.previous_session ELSE hosts.session END
    RETURNING id`,
};
const lockDevices: Statement = {
  name: 'lock-devices',
  text: `SELECT d.id, d.uuid, d.host_id AS "hostId", h.name AS host,
      EXISTS (SELECT FROM heartbeats b, jsonb_array_elements(b.reports) r WHERE b.host_id = d.host_id
        AND b.at >= now() - make_interval(secs => $2) AND r->>'uuid' = d.uuid::text AND r->>'condition' <> 'out'
      ) AS "servedThere", s.sequence
    FROM devices d JOIN hosts h ON h.id = d.host_id LEFT JOIN device_sequences s ON s.device_id = d.id
    WHERE d.id = ANY ($1) ORDER BY d.id FOR UPDATE OF d`,
};
const deviceByUuid: Statement = {
  name: 'device-by-uuid',
  text: 'SELECT id FROM devices WHERE uuid = $1',
};
const addDevice: Statement = {
  name: 'add-device',
  text: 'INSERT INTO devices (id, host_id, uuid) VALUES ($1, $2, $3)',
};
const moveDevice: Statement = { name: 'move-device', text: 'UPDATE devices SET host_id = $2 WHERE id = $1' };

// A registration counts as a heartbeat: the host is up, and its clock is judged by the next one.
const saveReports: Statement = {
  name: 'save-reports',
  text: `INSERT INTO heartbeats (host_id, highest_fid, reports) VALUES ($1, $2, $3)
    ON CONFLICT (host_id) DO UPDATE SET at = now(), reports = excluded.reports,
      highest_fid = greatest(heartbeats.highest_fid, excluded.highest_fid)`,
};
// A host speaks for its own devices only, and a disk that is out of service for none.
const OWN_AND_SERVING = `r.condition <> 'out'
  AND d.host_id = (SELECT id FROM hosts WHERE name = $1 AND session = $2)`;
const saveHeartbeat: Statement = {
  name: 'save-heartbeat',
  text: `WITH sequences AS (${saveSequences('$5::jsonb', OWN_AND_SERVING)})
    INSERT INTO heartbeats (host_id, at, clock_offset_ms, highest_fid, reports)
    SELECT id, clock_timestamp(), $3::bigint - (extract(epoch FROM clock_timestamp()) * 1000)::bigint, $4, $5
    FROM hosts WHERE name = $1 AND session = $2
    ON CONFLICT (host_id) DO UPDATE SET at = excluded.at, clock_offset_ms = excluded.clock_offset_ms,
      reports = excluded.reports, highest_fid = greatest(heartbeats.highest_fid, excluded.highest_fid)
    RETURNING (extract(epoch FROM at) * 1000)::bigint AS clock`,
};

interface KnownDevice {
  id: number;
  uuid: string;
  hostId: number;
  host: string;
  /** Its host reports it in service at this moment. */
  servedThere: boolean;
  /** How far its disk had come when it was seen last. */
  sequence: number | null;
}

type Verdict = Registered['devices'][number];

/**
 * Registers a host and judges each of its devices.
 * @param downSeconds how old the last heartbeat of a host may be for it to be up
 * @throws Problem already-exists if the URL is another host's; invalid-request if it is not a plain http URL
 */
export async function register(
  db: Database,
  { host, url, zone, session, devices }: Registration,
  downSeconds: number,
): Promise<Verdict[]> {
  const address = baseUrl(url);
  const ids = devices.map((device) => device.id);
  if (new Set(ids).size < ids.length) throw new Problem('invalid-request', 'A device is listed twice.');
  return db.transaction(async (tx) => {
    const [other] = await tx.query<{ name: string }>(hostAtUrl, [address, host]);
    if (other !== undefined) {
      throw new Problem(
        'already-exists',
        `The URL ${address} is host ${other.name}'s. Give ${host} another, or remove ${other.name}: cistern host rm.`,
      );
    }
    const [row] = await tx.query<{ id: number }>(saveHost, [host, address, zone ?? null, session]);
    const hostId = row?.id as number;
    const known = new Map(
      (await tx.query<KnownDevice>(lockDevices, [ids, downSeconds])).map((device) => [device.id, device]),
    );
    const verdicts: Verdict[] = [];
    for (const report of devices) verdicts.push(await judge(tx, hostId, report, known.get(report.id)));
    const accepted = verdicts.flatMap(({ id, verdict }) => (verdict === 'accepted' ? [id] : []));
    await keepSequences(tx, devices, accepted);
    await tx.query(saveReports, [hostId, highestFid(devices), JSON.stringify(devices)]);
    return verdicts;
  });
}

/** What becomes of one device; it is added, or moved to this host, if that is the verdict. */
async function judge(
  tx: Queryable,
  hostId: number,
  { id, uuid, sequence }: DeviceReport,
  known: KnownDevice | undefined,
): Promise<Verdict> {
  const refuse = (why: string): Verdict => ({ id, verdict: 'refused', why });
  if (known === undefined) {
    if (uuid === null) return { id, verdict: 'format' };
    const [twin] = await tx.query<{ id: number }>(deviceByUuid, [uuid]);
    if (twin !== undefined) return refuse(`this disk is device ${twin.id}: mount it there`);
    await tx.query(addDevice, [id, hostId, uuid]);
    return { id, verdict: 'accepted' };
  }
  if (uuid === null) return refuse('its marker is missing: is the disk mounted?');
  if (uuid.toLowerCase() !== known.uuid) {
    return refuse(`device ${id} is another disk (uuid ${known.uuid}): give a new disk a new number`);
  }
  if (sequence !== undefined && sequence < (known.sequence ?? 0)) return refuse(whySetBack(id));
  if (known.hostId !== hostId) {
    if (known.servedThere) return refuse(`host ${known.host} serves this disk now: is it a clone?`);
    await tx.query(moveDevice, [id, hostId]);
  }
  return { id, verdict: 'accepted' };
}

/**
 * Stores a heartbeat, with the database's time.
 * @returns the database's clock in milliseconds; undefined if this session is not registered
 */
export async function saveBeat(db: Database, beat: Heartbeat): Promise<number | undefined> {
  const { host, session, clock, devices } = beat;
  const values = [host, session, clock, highestFid(devices), JSON.stringify(devices)];
  const [row] = await db.query<{ clock: number }>(saveHeartbeat, values);
  return row?.clock;
}

function highestFid(devices: DeviceReport[]): number {
  return devices.reduce((highest, device) => Math.max(highest, device.highestFid), 0);
}

/** The URL without a trailing slash, so that one address has one spelling. */
function baseUrl(url: string): string {
  const { protocol, host, pathname, search, hash } = new URL(url);
  if (!/^https?:$/.test(protocol) || pathname !== '/' || search !== '' || hash !== '') {
    throw new Problem('invalid-request', `A host's URL is http(s)://address:port and no more, not '${url}'.`);
  }
  return `${protocol}//${host}`;
}
