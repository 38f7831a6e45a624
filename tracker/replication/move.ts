// Moves one replica to another device: copied there first, and given up only after all that stay were verified. Dropped
// anywhere, it leaves at most a copy too many, which the scan finds and trims.
import type { DeviceState } from '../cluster/state.ts';
import { findName } from './names.ts';
import type { Parts } from './parts.ts';
import { copyTo } from './repair.ts';
import { countHosts, countZones, type Replica } from './standing.ts';
import { judge, type Survey, surveyOf } from './survey.ts';
import { trimSurplus } from './trim.ts';

export interface Movable {
  survey: Survey;
  leaving: Replica;
  /** The replicas that stay where they are. */
  rest: Replica[];
}

/** A blob with just the copies that it wants, one of them on this device. Undefined: any other is repair's to look at. */
export async function findMovable(parts: Parts, fid: number, giver: number): Promise<Movable | undefined> {
  const survey = await surveyOf(parts.db, fid);
  if (survey === undefined) return undefined;
  const { good, staying, keepers, crowded } = judge(parts, survey);
  const leaving = keepers.find(({ device }) => device === giver);
  const settled =
    good.length === survey.want && staying.length === survey.want && keepers.length === survey.want;
  if (leaving === undefined || !settled || crowded) return undefined;
  return { survey, leaving, rest: keepers.filter((one) => one !== leaving) };
}

/** Whether the replica may be moved there: the blob's hosts stay distinct, and its zones as many as they are. */
export function mayMoveTo({ survey, leaving, rest }: Movable, { id, host, free }: DeviceState): boolean {
  const { locations, size, spreadZones } = survey;
  if (free < Math.max(size, 1) || locations.some(({ device }) => device === id)) return false;
  const hosts = countHosts([...rest, { host: host.id }]);
  const zones = countZones([...rest, { zone: host.zone }]);
  return hosts > rest.length && (!spreadZones || zones >= countZones([...rest, leaving]));
}

/** True if it was moved. What fails is logged, and leaves the blob with the copies that it has. */
export async function moveTo(
  parts: Parts,
  { survey, leaving, rest }: Movable,
  target: DeviceState,
  signal: AbortSignal,
): Promise<boolean> {
  const { db, state, watch } = parts;
  const name = await findName(db, survey.fid);
  if (name === undefined) return false;
  const sources = [...rest, leaving].flatMap(({ device }) => state.device(device) ?? []);
  // The copy is needed only because the one that leaves is not to be counted.
  const without = { ...parts, watch: { missed: new Set([...watch.missed, leaving.device]) } };
  if ((await copyTo(without, survey, name, target, sources, signal)) !== undefined) return false;
  const made: Replica = {
    device: target.id,
    host: target.host.id,
    zone: target.host.zone,
    state: 'good',
    use: 'alive',
  };
  await trimSurplus(parts, survey, { keepers: [...rest, made], surplus: [leaving] }, signal);
  const now = await surveyOf(db, survey.fid);
  return now?.locations.some(({ device, state }) => device === leaving.device && state === 'good') === false;
}
