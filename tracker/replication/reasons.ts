// Why a repair must wait, as sentences for the operator.
import { placementProblem, type Wish } from '../cluster/placement.ts';
import { nameDevice, type Parts, whyUnreadable } from './parts.ts';
import type { Replica } from './standing.ts';
import type { Survey } from './survey.ts';

export function whyCopyIsAway({ state }: Parts, staying: Replica[]): string {
  const away = staying.find(({ device }) => !state.device(device)?.readable);
  if (away === undefined) return 'its copies are being looked at';
  const device = state.device(away.device);
  return `a copy is on ${nameDevice(device, away.device)}, which ${whyUnreadable(device)}`;
}

export function whyNoTarget({ state }: Parts, survey: Survey, staying: Replica[], wish: Wish): string {
  const leaving = survey.locations.find(
    (one) => one.state === 'removing' && staying.every(({ host }) => host !== one.host),
  );
  if (leaving !== undefined) {
    return `a former copy on ${nameDevice(state.device(leaving.device), leaving.device)} is being removed first`;
  }
  return `no device can take another copy: ${placementProblem(state, wish, 1).message}`;
}

export function whyNoSource({ state }: Parts, { locations }: Survey): string {
  if (locations.length === 0) return 'no good copy is known';
  const each = locations.map(({ device: id, state: known }) => {
    const device = state.device(id);
    const why = device?.readable && known !== 'good' ? 'is corrupt or lost' : whyUnreadable(device);
    return device?.readable
      ? `the copy on ${nameDevice(device, id)} ${why}`
      : `${nameDevice(device, id)} ${why}`;
  });
  return `no good copy is reachable: ${each.join(', ')}`;
}
