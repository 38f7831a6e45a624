// `cistern status`: one screen that says whether all is well, and what to do next if it is not.
import type { Command } from 'commander';
import { deviceColumns, hostColumns } from '../lib/cluster.ts';
import { EXIT, failureOf } from '../lib/failure.ts';
import { formatAge, formatBytes, plural } from '../lib/format.ts';
import type { Output } from '../lib/output.ts';
import { run, type Session, verb } from '../lib/session.ts';
import type { Device, Status } from '../lib/types.ts';
import { describeRebalance } from './rebalance.ts';

/** A tracker that stands still accepts connections and says nothing; whoever asks for the status must not wait for it. */
const ANSWER_WITHIN_MS = 10_000;

export function register(program: Command): void {
  verb(program, 'status', 'say whether the cluster is healthy, and what to do if not', {
    domain: false,
    examples: ['status', 'status --json | jq .verdict', 'status > /dev/null || mail-the-operator'],
  }).action(run(status));
}

async function status(session: Session): Promise<number> {
  const { out } = session;
  let found: Status;
  try {
    found = await session.admin.json<Status>({
      method: 'GET',
      path: '/v1/status',
      patience: 0,
      answerWithin: ANSWER_WITHIN_MS,
    });
  } catch (error) {
    // Whatever it is: nothing was seen, so nothing may be said of the cluster's health.
    throw failureOf(error, 'cannot see the status').withExit(EXIT.couldNotLook);
  }
  if (out.json) await out.line(JSON.stringify(found));
  else if (out.terminal) await screen(out, found);
  else await lines(out, found);
  return found.verdict === 'healthy' ? EXIT.ok : EXIT.failed;
}

async function screen(out: Output, found: Status): Promise<void> {
  const { bold, green, yellow, red, dim } = out.color;
  const paint = { healthy: green, degraded: yellow, unhealthy: red }[found.verdict];
  const [first, ...others] = found.reasons;
  const verdict = bold(paint(found.verdict.toUpperCase()));
  await out.line(first === undefined ? verdict : `${verdict}: ${out.name(first.what)}`);
  for (const { what } of others) await out.line(`  ${out.name(what)}`);
  await out.line('');
  const { database, files } = found;
  for (const tracker of found.trackers) {
    const who = tracker.self ? 'answers here' : `seen ${formatAge(tracker.seen)}`;
    await out.line(`tracker   ${out.name(tracker.url)}, version ${out.name(tracker.version)}, ${who}`);
  }
  await out.line(
    `database  PostgreSQL ${out.name(database.version)} at ${out.name(database.server)}, answers in ${database.latencyMs.toFixed(1)} ms, ${formatBytes(database.size)}, ` +
      (database.backup === null ? 'not backed up yet' : `backed up ${formatAge(database.backup)}`),
  );
  await out.line(
    `files     ${plural(files.underReplicated, 'file')} below their copies, ${files.withoutCopy} without any; ` +
      `repair queue ${files.queued}${files.oldestRepair ? `, oldest ${formatAge(files.oldestRepair)}` : ''}; ` +
      `${files.removing} being removed, ${files.reaping} to be reaped; ${plural(files.domains, 'domain')}`,
  );
  await out.line(`scrub     ${scrubbed(found)}`);
  await out.line(
    `rebalance ${describeRebalance(found.rebalance)}${found.rebalance.why ? `; ${out.name(found.rebalance.why)}` : ''}`,
  );
  await out.line('');
  await out.list(found.hosts, hostColumns(out));
  await out.line('');
  await out.list(found.devices, deviceColumns(out));
  const next = [
    ...found.reasons.flatMap(({ next }) => (next ? [next] : [])),
    ...found.devices.flatMap(emptied),
  ];
  if (next.length > 0) await out.line('');
  for (const command of new Set(next)) await out.line(`${dim('next:')} ${bold(out.name(command))}`);
}

/** A drain that has come to its end is no fault, but it waits for a word. */
function emptied({ id, drain }: Device): string[] {
  return drain?.empty ? [`cistern device rm ${id}, or to use it again: cistern device alive ${id}`] : [];
}

/** How long ago the device that waits longest was read from end to end, and what scrubs have found. */
function scrubbed({ devices }: Status): string {
  const read = devices.flatMap(({ id, state, scrub }) =>
    state === 'dead' || scrub === undefined || scrub.days === 0 ? [] : [{ id, ...scrub }],
  );
  const aside = devices.reduce((sum, { quarantined }) => sum + quarantined, 0);
  const found = read.reduce((sum, one) => sum + one.found, 0);
  const bad = `; ${plural(found, 'bad copy', 'bad copies')} found ever, ${aside} put aside`;
  const waiting = read.filter(({ completed }) => completed === null);
  if (read.length === 0) return 'no device is scrubbed';
  if (waiting.length > 0) return `${plural(waiting.length, 'device')} in the first pass${bad}`;
  const oldest = read.reduce((a, b) => ((a.completed ?? 0) <= (b.completed ?? 0) ? a : b));
  const age = formatAge(new Date(oldest.completed ?? 0).toISOString());
  return `oldest full pass ended ${age} (device ${oldest.id})${bad}`;
}

/** The same for pipes: each line begins with the word for what it is about. */
async function lines(out: Output, found: Status): Promise<void> {
  const rows: (string | number)[][] = [
    ['verdict', found.verdict],
    ...found.reasons.map(({ what, next }) => ['reason', what, next ?? '']),
    ...found.trackers.map((t) => ['tracker', t.url, t.version, t.seen]),
    ['database', found.database.version, found.database.latencyMs, found.database.size],
    ...Object.entries(found.files).map(([name, value]) => ['files', name, value ?? '']),
    ...found.hosts.map((host) => ['host', ...hostColumns(out).map(({ cell }) => cell(host))]),
    ...found.devices.map((device) => ['device', ...deviceColumns(out).map(({ cell }) => cell(device))]),
  ];
  for (const row of rows) await out.line(row.join('\t'));
}
