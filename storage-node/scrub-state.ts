// How far a device's scrub is, kept on the device so that a restart goes on where it was.
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Static, Type } from 'typebox';
import { matches } from '../services/schemas.ts';

const FILE = 'cistern-scrub.json';

const StateSchema = Type.Object({
  /** When the present or last pass began, milliseconds since the epoch; null: none has yet. */
  began: Type.Union([Type.Integer(), Type.Null()]),
  /** When a pass ended last. */
  completed: Type.Union([Type.Integer(), Type.Null()]),
  /** The fid up to which the present pass has come; null between passes. */
  position: Type.Union([Type.Integer(), Type.Null()]),
  /** Bytes and blobs that the present or last pass has read. */
  bytes: Type.Integer(),
  blobs: Type.Integer(),
  /** Of these: nobody could say what their bytes should be. */
  unverified: Type.Integer(),
  /** Bad replicas that scrubs have found on this device, ever. */
  found: Type.Integer(),
});
export type ScrubState = Static<typeof StateSchema>;

export const NOT_BEGUN: ScrubState = {
  began: null,
  completed: null,
  position: null,
  bytes: 0,
  blobs: 0,
  unverified: 0,
  found: 0,
};

/** What was saved last; a scrub that has not begun if there is nothing, or nothing of use. */
export async function loadScrubState(root: string): Promise<ScrubState> {
  try {
    const saved: unknown = JSON.parse(await readFile(join(root, FILE), 'utf8'));
    return matches(StateSchema, saved) ? saved : NOT_BEGUN;
  } catch {
    return NOT_BEGUN;
  }
}

/**
 * Saves it in place of the last, not durably: what a power cut takes is only read again. It is written where uploads
 * are, in a directory that an empty place without its disk does not have.
 * @throws ENOENT then
 */
export async function saveScrubState(root: string, state: ScrubState): Promise<void> {
  const unfinished = join(root, 'tmp', `${FILE}.new`);
  await writeFile(unfinished, `${JSON.stringify(state)}\n`, { mode: 0o640 });
  await rename(unfinished, join(root, FILE));
}
