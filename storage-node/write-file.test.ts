// Bytes get into a file whole, whatever their length, also past the page cache.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statfsSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, describe, expect, it } from 'vitest';
import { lacksProgram, needs, skip } from '../test/support/needs.ts';
import { DirectorySync } from './directory-sync.ts';
import { random, sha256 } from './testing.ts';
import { writeFile } from './write-file.ts';

const KiB = 1024;
/** statfs(2): what this file system holds is in memory anyway. */
const TMPFS = 0x01021994;
const root = mkdtempSync(join(tmpdir(), 'cistern-write-'));
const ground = {
  root,
  directories: new DirectorySync(root),
  filesystem: () => statSync(root).dev,
  uuid: () => null,
};
afterAll(() => rmSync(root, { recursive: true }));

const accept = () => {};
/** As they come from a network: of no round size. */
const CHUNK = 65_521;
let files = 0;

/** Writes the bytes as they come from a network, or as an array of pieces, and answers with the file's path. */
async function written(bytes: Buffer, way: 'stream' | 'pieces', direct = true): Promise<string> {
  const path = join(root, `${++files}`);
  const chunks = Array.from({ length: Math.ceil(bytes.length / CHUNK) }, (_, i) =>
    bytes.subarray(i * CHUNK, (i + 1) * CHUNK),
  );
  const body = way === 'stream' ? Readable.from(chunks) : chunks;
  const { size, sha256: digest } = await writeFile(ground, path, body, { accept, direct });
  expect({ size, digest }).toEqual({ size: bytes.length, digest: sha256(bytes) });
  return path;
}

/** Bytes of a file that are in the page cache. */
const inMemory = (path: string) =>
  Number(execFileSync('fincore', ['--bytes', '--noheadings', '--output', 'RES', path]));

describe('a direct write', () => {
  it.each([
    0,
    1,
    4 * KiB,
    256 * KiB - 1,
    256 * KiB,
    256 * KiB + 1,
    512 * KiB,
    512 * KiB + 511,
    1024 * KiB - 4095,
    1536 * KiB + 4097,
  ])('of %i bytes has exactly these', async (size) => {
    const bytes = random(size);
    for (const way of ['stream', 'pieces'] as const) {
      expect(readFileSync(await written(bytes, way)).equals(bytes)).toBe(true);
    }
  });

  it('is exact too when so many run that there is no memory for more', async () => {
    const bytes = random(700 * KiB + 3);
    const paths = await Promise.all(Array.from({ length: 40 }, () => written(bytes, 'stream')));
    for (const path of paths) expect(readFileSync(path).equals(bytes)).toBe(true);
  });

  it('leaves nothing in the page cache, as others do', async (context) => {
    needs(context, lacksProgram('fincore'));
    if (statfsSync(root).type === TMPFS) skip(context, 'temporary files are in memory here');
    const bytes = random(1024 * KiB + 100);
    expect(inMemory(await written(bytes, 'stream'))).toBeLessThanOrEqual(4 * KiB);
    expect(inMemory(await written(bytes, 'stream', false))).toBeGreaterThan(1024 * KiB);
  });
});
