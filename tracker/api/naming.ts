// From stored bytes to a named file: uploads are committed or discarded, never left between.
import type { FastifyReply } from '../../services/http.ts';
import { encodeKey } from '../../services/keys.ts';
import type { DomainState } from '../cluster/state.ts';
import type { Answer, Committed, FileEntry, Idempotency, Upload } from '../namespace/types.ts';
import type { Tracker } from '../tracker.ts';
import type { Stored } from '../transfer/placing.ts';
import { discard } from '../transfer/upload.ts';

/**
 * Commits uploads, all or none, and makes the answer; or repeats the first answer to the same Idempotency-Key. What
 * is not committed is discarded.
 * @throws Problem as Namespace.commit
 */
export async function nameUploads(
  tracker: Tracker,
  domain: DomainState,
  uploads: Upload[],
  stored: Stored[],
  how: { idempotency: Idempotency | undefined; answer: (committed: Committed[]) => Answer },
): Promise<Answer> {
  const { namespace } = tracker;
  try {
    if (how.idempotency !== undefined) {
      const { answer, repeated } = await namespace.commitOnce(domain, uploads, how.idempotency, how.answer);
      if (repeated) await discard(tracker, stored);
      return answer;
    }
    const [only] = uploads;
    const single = uploads.length === 1 && only !== undefined;
    return how.answer(single ? [await namespace.commit(only)] : await namespace.commitAll(uploads));
  } catch (error) {
    // Where the outcome is unknown this is safe too: a fid that was committed after all is not burned.
    await discard(tracker, stored);
    throw error;
  }
}

/** Puts a stored upload into the trash as a former version of its key, or discards it. @throws Problem as keepPast */
export async function keepOrDiscard(tracker: Tracker, upload: Upload, stored: Stored): Promise<FileEntry> {
  try {
    return await tracker.namespace.keepPast(upload);
  } catch (error) {
    await discard(tracker, [stored]);
    throw error;
  }
}

/** The answer about one file: 201 if it is new, else 200. */
export function answerFor([only]: Committed[]): Answer {
  return { status: only?.created ? 201 : 200, body: only?.entry };
}

/** Sends the answer that `answerFor` made, with ETag, and with Location if the file is new. */
export function sendEntry(reply: FastifyReply, domain: DomainState, { status, body }: Answer): FastifyReply {
  const entry = body as FileEntry;
  reply.code(status).header('etag', entry.etag);
  if (status === 201) reply.header('location', `/v1/domains/${domain.name}/files/${encodeKey(entry.key)}`);
  return reply.send(entry);
}
