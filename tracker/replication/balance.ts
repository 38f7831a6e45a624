// How evenly the devices are filled, and so which give replicas and which take some. A pure judgement.
import type { DeviceState } from '../cluster/state.ts';

/** A device's fill, in bytes. */
export interface Level {
  id: number;
  total: number;
  used: number;
  /** Of what was moved just now, and may or may not be in `used` yet. */
  arriving: number;
  leaving: number;
}

export interface Balance {
  /** The part of all devices' space that is used, from 0 to 1. */
  mean: number;
  /** Each device is at most so far from the mean as it may be. */
  even: boolean;
  /** Fuller than the mean also after all that leaves has left, the fullest first. */
  givers: Level[];
  /** Emptier than the mean also after all that comes has come, the emptiest first. */
  takers: Level[];
}

/** @param band how far a device may be from the mean, as a part of its size */
export function balanceOf(levels: readonly Level[], band: number): Balance {
  const total = levels.reduce((sum, one) => sum + one.total, 0);
  const mean = total === 0 ? 0 : levels.reduce((sum, { used }) => sum + used, 0) / total;
  return {
    mean,
    even: levels.every((one) => Math.abs(fillOf(one) - mean) <= band),
    givers: levels
      .filter((one) => fillAfterLeaving(one) > mean)
      .sort((a, b) => fillAfterLeaving(b) - fillAfterLeaving(a) || a.id - b.id),
    takers: levels
      .filter((one) => fillAfterArriving(one) < mean)
      .sort((a, b) => fillAfterArriving(a) - fillAfterArriving(b) || a.id - b.id),
  };
}

/** From 0 to 1. */
export function fillOf({ used, total }: Pick<Level, 'used' | 'total'>): number {
  return used / total;
}

const fillAfterLeaving = ({ used, leaving, total }: Level) => (used - leaving) / total;
const fillAfterArriving = ({ used, arriving, total }: Level) => (used + arriving) / total;

/**
 * Whether so many bytes make things more even. The taker must stay emptier than the giver was: then the fullest device
 * becomes emptier with each move, and nothing is ever moved to and fro.
 */
export function evens(giver: Level, taker: Level, bytes: number): boolean {
  return fillAfterArriving({ ...taker, arriving: taker.arriving + bytes }) < fillAfterLeaving(giver);
}

/** The devices that rebalancing looks at: those that new files may be placed on. The reserve counts as used. */
export function levelsOf(devices: readonly DeviceState[]): Level[] {
  return devices.flatMap(({ id, writable, weight, total, free }) =>
    writable && weight > 0 && total > 0 ? [{ id, total, used: total - free, arriving: 0, leaving: 0 }] : [],
  );
}
