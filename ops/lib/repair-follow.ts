// Watches the repair queue while the trackers work it off.
import { setTimeout as sleep } from 'node:timers/promises';
import { formatBytes, formatSeconds, plural } from './format.ts';
import { startProgress } from './progress.ts';
import { AWAY_MS, REPORT_MS, type Selection } from './repair-selection.ts';
import type { Session } from './session.ts';
import { type Mark, moved, nothingToTry } from './standstill.ts';
import type { Repair } from './types.ts';

const POLL_MS = 500;
/** A look at a long queue costs the database something: it is taken no more often than so many times as long as it took. */
const POLL_SHARE = 10;

/** Watches until nothing of the selection is queued (true), or nothing moves any more (false). */
export async function follow(session: Session, selection: Selection, patience: number): Promise<boolean> {
  const { out, signal } = session;
  const start = Date.now();
  const first = await state(session, selection);
  let [total, bytes] = [first.queued, first.bytes];
  let mark: Mark = { state: first, at: start };
  let reported = start;
  const bar = startProgress('Repairing', 'files', total, !out.json);
  try {
    for (;;) {
      const asked = Date.now();
      const now = await state(session, selection);
      if (now.queued === 0) return true;
      if (moved(mark.state, now)) mark = { state: now, at: Date.now() };
      const still = Date.now() - mark.at;
      if (still >= patience || nothingToTry(first, now, still)) return false;
      total = Math.max(total, now.queued);
      bytes = Math.max(bytes, now.bytes);
      const seconds = Math.max((Date.now() - start) / 1000, 0.001);
      const rate = Math.round((bytes - now.bytes) / seconds);
      const left = rate > 0 ? Math.round(now.bytes / rate) : undefined;
      bar.setTotal(total);
      bar.set(total - now.queued, `${formatBytes(bytes - now.bytes)}, ${formatBytes(rate)}/s`);
      if (!process.stderr.isTTY && mark.at > reported && Date.now() - reported >= REPORT_MS) {
        reported = Date.now();
        await report(session, now, { total, bytes: bytes - now.bytes, rate, left });
      }
      await sleep(Math.max(POLL_MS, POLL_SHARE * (Date.now() - asked)), undefined, { signal });
    }
  } finally {
    bar.stop();
  }
}

interface Figures {
  total: number;
  /** That were mended so far, and in a second. */
  bytes: number;
  rate: number;
  /** Seconds. */
  left: number | undefined;
}

async function report({ out }: Session, now: Repair, { total, bytes, rate, left }: Figures): Promise<void> {
  const { queued, underReplicated, withoutCopy, oldest } = now;
  await out.item(
    {
      event: 'progress',
      total,
      queued,
      underReplicated,
      withoutCopy,
      oldest,
      bytes,
      bytesLeft: now.bytes,
      bytesPerSecond: rate,
      secondsLeft: left ?? null,
    },
    () =>
      `repaired ${(total - queued).toLocaleString('en-US')} of ${plural(total, 'file')}, ${formatBytes(bytes)}, ` +
      `${formatBytes(rate)}/s${left === undefined ? '' : `, ${formatSeconds(left)} left`}`,
  );
}

function state(session: Session, selection: Selection): Promise<Repair> {
  return session.admin.json<Repair>({
    method: 'GET',
    path: '/v1/repair',
    query: { ...selection },
    patience: AWAY_MS,
  });
}
