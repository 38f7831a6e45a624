// The marker file says which device of which cluster a directory is, so that a disk that is mounted in the wrong
// place, or not mounted at all, is noticed before anything is written to it.
import { randomUUID } from 'node:crypto';
import { link, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Static, Type } from 'typebox';
import { matches } from '../services/schemas.ts';

export const MARKER = 'cistern-device.json';
const UNFINISHED = `${MARKER}.new`;

const MarkerSchema = Type.Object({
  cluster: Type.String({ minLength: 1 }),
  device: Type.Integer({ minimum: 1 }),
  uuid: Type.String({ pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' }),
  created: Type.String(),
});
export type Marker = Static<typeof MarkerSchema>;

/** A marker file as found, with the file system (st_dev) that it is on. */
export interface FoundMarker {
  marker: Marker | undefined;
  filesystem: number;
}

/** Reads the marker; `marker` is undefined if the file is damaged. Fails with ENOENT if there is none. */
export async function readMarker(directory: string): Promise<FoundMarker> {
  const file = await open(join(directory, MARKER), 'r');
  try {
    const { dev: filesystem } = await file.stat();
    return { marker: parse(await file.readFile('utf8')), filesystem };
  } finally {
    await file.close();
  }
}

function parse(text: string): Marker | undefined {
  try {
    const marker: unknown = JSON.parse(text);
    return matches(MarkerSchema, marker) ? marker : undefined;
  } catch {
    return undefined;
  }
}

/** True if nothing is in the directory but what mkfs makes, so that it may be formatted. */
export async function isBlank(directory: string): Promise<boolean> {
  return (await readdir(directory)).every((name) => name === 'lost+found' || name === UNFINISHED);
}

/** Writes a new marker, durably. Fails with EEXIST if there is one: it is never overwritten. */
export async function writeMarker(directory: string, cluster: string, device: number): Promise<void> {
  const marker: Marker = { cluster, device, uuid: randomUUID(), created: new Date().toISOString() };
  const unfinished = join(directory, UNFINISHED);
  await rm(unfinished, { force: true });
  const file = await open(unfinished, 'wx', 0o640);
  try {
    await file.writeFile(`${JSON.stringify(marker, undefined, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  // A link, unlike a rename, fails if a marker has come to be meanwhile.
  await link(unfinished, join(directory, MARKER));
  await rm(unfinished);
  // The parent too: the directory itself may have been made just before.
  for (const path of [directory, join(directory, '..')]) {
    const handle = await open(path, 'r');
    await handle.sync().finally(() => handle.close());
  }
}
