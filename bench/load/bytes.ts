// Bytes that look random and are the same in every process, so that whoever stores them and whoever writes their digest
// into the database need not talk to each other.
import { createHash } from 'node:crypto';

/** `size` bytes. */
export const bytesOf = (size: number): Buffer =>
  createHash('shake256', { outputLength: size }).update('bench').digest();
