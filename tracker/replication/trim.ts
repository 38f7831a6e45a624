// Takes away replicas that are too many or badly placed: the worst first, and only after those that stay were read
// again from their disks just now (invariant 8).

import { trimCopy } from './copies.ts';
import { inspect, reportBad } from './findings.ts';
import { nameDevice, type Parts } from './parts.ts';
import type { Standing } from './standing.ts';
import { countZones } from './standing.ts';
import type { Survey } from './survey.ts';

/**
 * Verifies the keepers, then gives the surplus up.
 * @returns why nothing could be given up, if so; undefined if something was, or what was found changes the case
 */
export async function trimSurplus(
  parts: Parts,
  survey: Survey,
  { keepers, surplus }: Pick<Standing, 'keepers' | 'surplus'>,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const { db, nodes, state, log, meters } = parts;
  const { fid } = survey;
  const verdicts = await Promise.all(
    keepers.map(async ({ device: id }) => {
      const device = state.device(id);
      const verdict = device === undefined ? 'unknown' : await inspect(nodes, device, survey, signal);
      return { id, verdict };
    }),
  );
  const failed = verdicts.find(({ verdict }) => verdict !== 'good');
  if (failed !== undefined) {
    const { id, verdict } = failed;
    // One that is bad counts no longer, and the case is another one then.
    if (verdict !== 'unknown' && verdict !== 'good' && (await reportBad(parts, fid, id, verdict, signal)))
      return undefined;
    return `a copy too many is kept: the one on ${nameDevice(state.device(id), id)} cannot be verified now`;
  }
  const kept = {
    devices: keepers.map(({ device }) => device),
    zones: countZones(keepers),
    verifiedAt: state.now(),
  };
  let trimmed = 0;
  for (const { device } of surplus) {
    if (!(await trimCopy(db, fid, device, kept))) continue;
    trimmed++;
    log.debug({ fid, device }, 'trimmed a copy that nobody needs');
  }
  meters.trimmed.inc(trimmed);
  return trimmed > 0 ? undefined : 'a copy too many is kept: what stands beside it changed meanwhile';
}
