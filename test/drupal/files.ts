// Files to upload: images that no other test has, and huge ones whose every part differs.
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Head } from './head.ts';

const MIB = 1024 * 1024;

/** Makes an image with a name of its own in the head's directory for temporary files. Returns its path. */
export async function makeImage(head: Head, name: string): Promise<string> {
  const path = join(head.makeDirectory('uploads'), `${name}-${randomBytes(3).toString('hex')}.jpg`);
  const color = [...randomBytes(3)].join(', ');
  const draw = `$i = imagecreatetruecolor(1600, 1000); imagefill($i, 0, 0, imagecolorallocate($i, ${color}));
    for ($n = 0; $n < 400; $n++) imagefilledellipse($i, rand(0, 1600), rand(0, 1000), 90, 60, rand(0, 0xffffff));
    imagejpeg($i, $argv[1]);`;
  await head.php(['-r', draw, path]);
  return path;
}

/** Makes a file of so many MiB. Returns its path and digest. */
export async function makeHuge(
  directory: string,
  mebibytes: number,
): Promise<{ path: string; sha256: string }> {
  const path = join(directory, `huge-${randomBytes(3).toString('hex')}.bin`);
  const file = await open(path, 'w');
  const piece = randomBytes(MIB);
  for (let i = 0; i < mebibytes; i++) {
    piece.writeUInt32BE(i);
    await file.write(piece);
  }
  await file.close();
  return { path, sha256: await digestOf(createReadStream(path)) };
}

export async function digestOf(bytes: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(bytes, hash);
  return hash.digest('hex');
}
