// A blob, what its classes want of it, and where its replicas are: what a repair decides by.
import type { Queryable, Statement } from '../database/database.ts';
import { openZones, type Parts, readableDevices } from './parts.ts';
import { policyOf } from './scan.ts';
import { type Known, type Replica, type Standing, standingOf } from './standing.ts';

export interface Survey {
  fid: number;
  want: number;
  /** A class wants the copies in different zones. */
  spreadZones: boolean;
  size: number;
  sha256: string;
  locations: Replica[];
}

/** The statement that looks at the live blobs `b` that this condition chooses. */
export const surveyWhere = (condition: string) =>
  `SELECT b.fid, b.want, p."spreadZones", b.size, encode(b.sha256, 'hex') AS sha256, coalesce((
      SELECT json_agg(json_build_object('device', l.device_id, 'host', d.host_id, 'zone', h.zone, 'state', l.state,
        'use', d.state))
      FROM locations l JOIN devices d ON d.id = l.device_id JOIN hosts h ON h.id = d.host_id
      WHERE l.fid = b.fid), '[]') AS locations
    FROM blobs b, ${policyOf('b.fid')} AS p WHERE ${condition} AND b.state = 'live'`;

const surveyBlob: Statement = { name: 'repair-survey', text: surveyWhere('b.fid = $1') };

/** Looks at a live blob; undefined if it lives no more. */
export async function surveyOf(db: Queryable, fid: number): Promise<Survey | undefined> {
  return (await db.query<Survey>(surveyBlob, [fid]))[0];
}

/** Judges it by what is known of the devices at this moment. */
export function judge({ state, watch }: Pick<Parts, 'state' | 'watch'>, survey: Survey): Standing {
  const known: Known = {
    readable: new Set(readableDevices(state)),
    missed: watch.missed,
    zones: openZones(state),
    fill(id) {
      const device = state.device(id);
      return device === undefined || device.total === 0 ? 1 : 1 - device.free / device.total;
    },
  };
  return standingOf(survey.locations, survey, known);
}
