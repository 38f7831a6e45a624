// Reads one file: verified against its digest, and going on where it was when a connection breaks.
import { createHash, randomBytes } from 'node:crypto';
import { createWriteStream, promises as fs } from 'node:fs';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type Answer, type Api, connectionLost, filePath } from './api.ts';
import { Failure } from './failure.ts';

/** A connection that breaks this often without a byte in between is given up. */
const MAX_BREAKS = 5;

/**
 * The bytes of a file. Ends with an error if they do not match the file's digest: whoever has used them must be told.
 * @throws Problem file-not-found, is-a-directory, no-good-replica ...; Failure if the bytes are not what they should be
 */
export async function* download(
  api: Api,
  domain: string,
  key: string,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const path = filePath(domain, key);
  const digest = createHash('sha256');
  let answer: Answer = await api.request({ method: 'GET', path });
  const etag = String(answer.headers.etag);
  let offset = 0;
  for (let breaks = 0; ; ) {
    try {
      for await (const chunk of answer.body as AsyncIterable<Buffer>) {
        digest.update(chunk);
        offset += chunk.length;
        breaks = 0;
        yield chunk;
      }
      break;
    } catch (error) {
      if (signal.aborted || !connectionLost(error as Error) || ++breaks > MAX_BREAKS) throw error;
      // If-Match: a file that was replaced meanwhile must not be mixed with what is here already.
      answer = await api.request({
        method: 'GET',
        path,
        headers: { range: `bytes=${offset}-`, 'if-match': etag },
      });
    }
  }
  if (etag !== `"${digest.digest('hex')}"`) {
    throw new Failure('THE BYTES RECEIVED ARE NOT THE FILE (the SHA-256 differs from its ETag)', {
      todo: 'do not use them; read it again, and check memory and network between here and the cluster',
    });
  }
}

/** Reads a file into `path`, which holds the old content or the new one, whole and verified, and nothing in between. */
export async function downloadTo(
  api: Api,
  domain: string,
  key: string,
  path: string,
  signal: AbortSignal,
  options: { mtime?: Date; mode?: number; onBytes: (count: number) => void },
): Promise<void> {
  await refuseSpecial(path);
  const temporary = join(dirname(path), `.cistern-${randomBytes(6).toString('hex')}.part`);
  try {
    await pipeline(
      download(api, domain, key, signal),
      async function* (chunks: AsyncIterable<Buffer>) {
        for await (const chunk of chunks) {
          options.onBytes(chunk.length);
          yield chunk;
        }
      },
      createWriteStream(temporary, { flags: 'wx' }),
    );
    if (options.mode !== undefined) await fs.chmod(temporary, options.mode);
    if (options.mtime) await fs.utimes(temporary, options.mtime, options.mtime);
    await fs.rename(temporary, path);
  } catch (error) {
    await fs.rm(temporary, { force: true });
    throw error;
  }
}

/** A rename would put a file in the place of a device such as /dev/null. */
async function refuseSpecial(path: string): Promise<void> {
  const stats = await fs.stat(path).catch(() => undefined);
  if (stats === undefined || stats.isFile()) return;
  const kind = stats.isDirectory() ? 'a directory' : 'not a regular file';
  throw new Failure(`'${path}' is ${kind}`, { todo: "name a file, or '-' for the standard output" });
}
