// The part of `cistern repair --verify` that has the storage nodes read copies again.
import { Failure } from './failure.ts';
import { escapeControls, formatBytes, plural } from './format.ts';
import { Place } from './place.ts';
import { startProgress } from './progress.ts';
import { AWAY_MS, REPORT_MS, type Selection } from './repair-selection.ts';
import type { Session } from './session.ts';

interface Page {
  verified: number;
  bytes: number;
  bad: { fid: number; device: number; domain: string | null; key: string | null; what: string }[];
  away: { device: number; why: string }[];
  next?: number;
}

interface State {
  after: number;
  verified: number;
  bytes: number;
  bad: number;
}

/**
 * Has all copies of the selection read, and those that are bad queued for repair (`dryRun`: only named). Returns how
 * many were bad.
 * @throws Failure (exit 2) if some could not be read: a device is away
 */
export async function verify(
  session: Session,
  selection: Selection,
  { dryRun = false, resume }: { dryRun?: boolean; resume?: string },
): Promise<number> {
  const { out, admin } = session;
  const place = new Place<State>(resume, { verify: selection, dryRun });
  const state = place.found ?? { after: 0, verified: 0, bytes: 0, bad: 0 };
  const away = new Map<number, string>();
  const bar = startProgress('Reading', 'copies', state.verified, !out.json);
  let reported = Date.now();
  try {
    for (let more = true; more; ) {
      const page: Page = await admin.json({
        method: 'POST',
        path: '/v1/repair/verify',
        json: { after: state.after, onlyLook: dryRun, ...selection },
        repeatable: true,
        patience: AWAY_MS,
      });
      for (const found of page.bad) {
        await out.item({ event: 'bad', ...found }, () => {
          const { fid, device, what, domain, key } = found;
          return `${what}\t${fid}\t${device}\t${domain ?? '-'}\t${out.terminal ? escapeControls(key ?? '-') : (key ?? '-')}`;
        });
      }
      for (const { device, why } of page.away) away.set(device, why);
      state.verified += page.verified;
      state.bytes += page.bytes;
      state.bad += page.bad.length;
      state.after = page.next ?? state.after;
      more = page.next !== undefined;
      bar.setTotal(state.verified);
      bar.set(state.verified, formatBytes(state.bytes));
      // What could not be read is looked for again by the next run.
      if (away.size === 0) place.keep(state);
      if (!process.stderr.isTTY && Date.now() - reported >= REPORT_MS) {
        reported = Date.now();
        await tell(session, 'verifying', state);
      }
    }
  } finally {
    bar.stop();
  }
  await tell(session, 'verified', state);
  if (away.size > 0) {
    throw new Failure(`not all copies could be read: ${[...away.values()].join('; ')}`, {
      todo: 'bring it back, or declare it dead; then run this again',
      exit: 2,
    });
  }
  place.forget();
  return state.bad;
}

async function tell({ out }: Session, event: string, { verified, bytes, bad }: State): Promise<void> {
  await out.item(
    { event, verified, bytes, bad },
    () =>
      `read ${plural(verified, 'copy', 'copies')} (${formatBytes(bytes)}): ${bad === 0 ? 'all are good' : `${bad} bad`}`,
  );
}
