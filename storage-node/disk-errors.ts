// What the system's error codes say about a disk.
import { WrongFilesystem } from './ground.ts';
import { GONE } from './inspection.ts';

/** The disk itself fails; after one of these on a write nothing that it says about its writes can be trusted. */
const FAILED = new Set(['EIO', 'ENXIO', 'ENODEV', 'EUCLEAN', 'EBADMSG', 'EREMOTEIO']);
/** The medium has lost what was there. Other errors are about the disk as a whole. */
export const UNREADABLE = new Set(['EIO', 'EBADMSG']);
const FULL = new Set(['ENOSPC', 'EDQUOT']);
const REFUSED = new Set(['EROFS', 'EACCES', 'EPERM']);

/** Undefined: the error is not about the disk. */
export function classify(error: unknown): 'gone' | 'full' | 'refused' | 'failed' | undefined {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (error instanceof WrongFilesystem || GONE.has(code)) return 'gone';
  if (FULL.has(code)) return 'full';
  if (REFUSED.has(code)) return 'refused';
  return FAILED.has(code) ? 'failed' : undefined;
}
