// Where a device keeps its files, and the check that a file which is written is really there.
import { fstatSync } from 'node:fs';
import type { DirectorySync } from './directory-sync.ts';

export interface Ground {
  /** The device's directory; all other paths are relative to it. */
  root: string;
  directories: DirectorySync;
  /** st_dev of the disk that the marker file is on. */
  filesystem(): number | undefined;
  /** The device's own id, which its marker file says. */
  uuid(): string | null;
}

/** The file system under the device is not the one that its marker file is on (it was unmounted). */
export class WrongFilesystem extends Error {}

/** @throws WrongFilesystem */
export function assertOnDisk({ root, filesystem }: Ground, fd: number): void {
  if (fstatSync(fd).dev !== filesystem()) {
    throw new WrongFilesystem(`${root} is not on its own file system any more`);
  }
}
