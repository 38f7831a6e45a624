// A process that stores, removes and compacts blobs in volumes until it is killed: `node volumes-victim.ts ROOT FIRST`.
// It prints a line before each change and one after it, for whoever kills it.
import { enableFailPoints } from '../../services/fail-points.ts';
import { binding } from '../../storage-node/testing.ts';
import { count, open } from '../../storage-node/volumes/testing.ts';
import { Random } from '../chaos/random.ts';
import { bytesOf } from './volumes-bytes.ts';

const WORKERS = 8;
const [root = '', first = ''] = process.argv.slice(2);
enableFailPoints();
const shelf = await open(root);
const stored: number[] = [];
let next = Number(first);

const say = (...words: (string | number)[]) => process.stdout.write(`${words.join(' ')}\n`);

async function put(fid: number): Promise<void> {
  say('putting', fid);
  await shelf.store.put(fid, bytesOf(fid), { binding, accept() {} });
  say('put', fid);
  stored.push(fid);
}

async function remove(fid: number): Promise<void> {
  say('deleting', fid);
  await shelf.store.delete(fid);
  say('deleted', fid);
}

/** Four fifths of what is stored is removed again, so that volumes die; some of that comes back. */
async function work(random: Random): Promise<never> {
  for (;;) {
    await put(next++);
    if (random.between(0, 9) < 2 || stored.length < 50) continue;
    const [fid] = stored.splice(random.between(0, stored.length - 1), 1);
    if (fid === undefined) continue;
    await remove(fid);
    if (random.between(0, 9) === 0) await put(fid);
  }
}

await count(shelf);
await Promise.all(Array.from({ length: WORKERS }, (_, i) => work(new Random(`${first}/${i}`))));
