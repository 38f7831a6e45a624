// Looks at a device's directory: is it there, is it the right disk, may it be written?
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import type { DeviceReport } from '../services/protocol.ts';
import { isBlank, readMarker } from './marker.ts';

export interface State {
  condition: DeviceReport['condition'];
  why?: string;
}

export interface Inspection {
  state: State;
  /** The disk that was found, if it is this device's. */
  disk?: { uuid: string; filesystem: number };
}

/** Codes of errors that mean: there is nothing at this path. */
export const GONE = new Set(['ENOENT', 'ENOTDIR', 'ESTALE']);

/**
 * @param cluster the cluster's id if it is known yet
 * @param knownUuid the device's, if its disk was seen before; an empty directory is then a disk that is not mounted
 */
export async function inspect(
  path: string,
  id: number,
  cluster: string | undefined,
  knownUuid: string | null,
): Promise<Inspection> {
  const found = await unlessGone(readMarker(path));
  if (found === undefined) return await inspectBlank(path, knownUuid);
  const { marker, filesystem } = found;
  if (marker === undefined) return out('the marker file is damaged');
  if (marker.device !== id) return out(`the marker file is that of device ${marker.device}`);
  if (cluster !== undefined && marker.cluster !== cluster)
    return out('the marker file is of another cluster');
  const readonly = await whyReadonly(path);
  const state: State =
    readonly === undefined ? { condition: 'ok' } : { condition: 'readonly', why: readonly };
  return { state, disk: { uuid: marker.uuid, filesystem } };
}

async function inspectBlank(path: string, knownUuid: string | null): Promise<Inspection> {
  const blank = await unlessGone(isBlank(path));
  if (blank === undefined) return out('the directory is gone');
  if (knownUuid !== null) return out('the marker file is gone: is the disk mounted?');
  if (!blank) return out('there is no marker file, but other files: it is not formatted');
  const readonly = await whyReadonly(path);
  return readonly === undefined ? { state: { condition: 'ok' } } : out(readonly);
}

async function whyReadonly(path: string): Promise<string | undefined> {
  try {
    await access(path, constants.W_OK);
    return undefined;
  } catch (error) {
    return `the directory cannot be written (${reason(error)})`;
  }
}

async function unlessGone<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (GONE.has((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

function out(why: string): Inspection {
  return { state: { condition: 'out', why } };
}

/** A short text for an operator: the system's error code where there is one. */
export function reason(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? (error instanceof Error ? error.message : String(error));
}
