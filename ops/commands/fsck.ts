// `cistern fsck`: does the database tell the truth about the disks, and the tables about each other? It only looks.
import type { Command } from 'commander';
import { EXIT, Failure, failureOf, isProblem } from '../lib/failure.ts';
import { escapeControls, formatBytes, plural } from '../lib/format.ts';
import { positive, positives } from '../lib/options.ts';
import { Place } from '../lib/place.ts';
import { type Progress, startProgress } from '../lib/progress.ts';
import { run, type Session, verb } from '../lib/session.ts';
import type { Device, FsckFinding, FsckPage, Status } from '../lib/types.ts';

interface Options {
  domain?: string;
  device?: number[];
  verify?: boolean;
  resume?: string;
  patience: number;
}

/** With `--verify` a page is read from the disk, so it is kept short. */
const VERIFIED_AT_ONCE = 500;

export function register(program: Command): void {
  verb(program, 'fsck', 'compare what the database says with what the disks hold; nothing is changed', {
    domain: false,
    examples: [
      'fsck                          names, copies and disks, without reading the files',
      'fsck --verify --device 3      read all of one device again',
      'fsck --verify --resume place  can be stopped; the same command goes on from there',
      'fsck --json                   a line for each finding, and one at the end',
    ],
  })
    .option('--domain <name>', 'report on this domain only (CISTERN_DOMAIN is not looked at here)')
    .option('--device <id>', 'look at this device only; may be repeated', positives)
    .option('--verify', 'have the storage nodes read every copy again and compare its digest')
    .option('--patience <seconds>', 'wait so long for parts of the cluster that are away', positive, 60)
    .option('--resume <file>', 'keep the place in this file, and go on from it if it is there')
    .addHelpText(
      'after',
      'Exit code 0: nothing was found. 1: see the findings. 2: nothing was found, but not all could be looked at.',
    )
    .action(run(fsck));
}

/** One of the walks that a run is made of. `after` is where it stands; `done` if it came to its end. */
interface Walk {
  after: number;
  done: boolean;
}

/** All that a run must know to go on. */
interface State {
  walks: Record<string, Walk>;
  findings: Record<string, number>;
  compared: { replicas: number; files: number; directories: number; bytes: number };
}

interface Away {
  device: number;
  host: string;
  why: string;
}

async function fsck(session: Session, options: Options): Promise<number> {
  const { domain, device: only, verify = false } = options;
  const place = new Place<State>(options.resume, { domain, only, verify });
  const state = place.found ?? {
    walks: {},
    findings: {},
    compared: { replicas: 0, files: 0, directories: 0, bytes: 0 },
  };
  const { devices, away } = await chooseDevices(session, only);
  const total = devices.reduce((sum, { blobs }) => sum + blobs, 0);
  const bar = startProgress(verify ? 'Reading' : 'Comparing', 'copies', total, !session.out.json);
  bar.set(state.compared.replicas);
  const look = new Look(session, options, state, () => place.keep(state), bar);
  try {
    await Promise.all([
      ...devices.map(async (device) => {
        const why = await look.device(device);
        if (why !== undefined) away.push({ device: device.id, host: device.host, why });
      }),
      ...(only === undefined ? [look.tables()] : []),
    ]);
  } catch (error) {
    const failure = failureOf(error, 'cannot compare everything');
    throw failure.exit === EXIT.interrupted ? failure : failure.withExit(EXIT.couldNotLook);
  } finally {
    bar.stop();
  }
  if (away.length === 0) place.forget();
  return await conclude(session, state, away);
}

/** The devices to look at, and those that cannot be. Dead ones count nowhere. */
async function chooseDevices(session: Session, only: number[] | undefined) {
  let all: Device[];
  try {
    all = (await session.admin.json<Status>({ method: 'GET', path: '/v1/status' })).devices;
  } catch (error) {
    throw failureOf(error, 'cannot see the devices').withExit(EXIT.couldNotLook);
  }
  const known = new Set(all.map(({ id }) => id));
  for (const id of only ?? []) {
    if (!known.has(id)) {
      throw new Failure(`there is no device ${id}`, { todo: "see 'cistern device list'", exit: 2 });
    }
  }
  const chosen = all.filter(({ id, state }) => (only === undefined ? state !== 'dead' : only.includes(id)));
  const readable = (device: Device) =>
    device.state !== 'dead' && device.observed === 'up' && device.condition !== 'out';
  const away = chosen.flatMap((device): Away[] => {
    if (readable(device)) return [];
    const why = device.state === 'dead' ? 'it is dead' : (device.why ?? 'its host is down');
    return [{ device: device.id, host: device.host, why }];
  });
  return { devices: chosen.filter(readable), away };
}

/** The walks of one run, which all report to one state. */
class Look {
  readonly #session: Session;
  readonly #options: Options;
  readonly #state: State;
  readonly #keep: () => void;
  readonly #bar: Progress;

  constructor(session: Session, options: Options, state: State, keep: () => void, bar: Progress) {
    this.#session = session;
    this.#options = options;
    this.#state = state;
    this.#keep = keep;
    this.#bar = bar;
  }

  /** Compares a device to its end. Returns why that could not be done, if it could not. */
  async device({ id }: Device): Promise<string | undefined> {
    const { verify } = this.#options;
    const more = verify ? { verify, limit: VERIFIED_AT_ONCE } : {};
    const deadline = { at: Date.now() + this.#options.patience * 1000 };
    for (;;) {
      try {
        await this.#walk(`/v1/fsck/devices/${id}`, 'replicas', more, () => {
          deadline.at = Date.now() + this.#options.patience * 1000;
        });
        return undefined;
      } catch (error) {
        const failure = failureOf(error);
        if (!isAway(error)) throw failure;
        // Its node may be restarting; the place is kept.
        if (Date.now() > deadline.at) return failure.message;
        await new Promise((resolve) => setTimeout(resolve, 1_000));
        this.#session.signal.throwIfAborted();
      }
    }
  }

  /** Compares the tables with each other. */
  async tables(): Promise<void> {
    await this.#walk('/v1/fsck/files', 'files', {});
    await this.#walk('/v1/fsck/directories', 'directories', {});
  }

  async #walk(
    path: string,
    what: 'replicas' | 'files' | 'directories',
    more: Record<string, string | number | boolean>,
    moved = () => {},
  ): Promise<void> {
    const { compared, walks, findings } = this.#state;
    const walk = walks[path] ?? { after: 0, done: false };
    walks[path] = walk;
    while (!walk.done) {
      const page: FsckPage = await this.#session.admin.json({
        method: 'GET',
        path,
        query: { after: walk.after, domain: this.#options.domain, ...more },
        patience: this.#options.patience * 1000,
      });
      for (const finding of page.findings) {
        findings[finding.kind] = (findings[finding.kind] ?? 0) + 1;
        await this.#session.out.item({ event: 'finding', ...finding }, () =>
          lineOf(finding, this.#session.out.terminal),
        );
      }
      compared[what] += page.compared;
      if (what === 'replicas') compared.bytes += page.bytes;
      if (what === 'replicas') this.#bar.set(compared.replicas);
      if (page.next === undefined) walk.done = true;
      else walk.after = page.next;
      this.#keep();
      moved();
    }
  }
}

/** True if a device could not be asked now: later it may be. */
function isAway(error: unknown): boolean {
  return isProblem(error, 'device-unavailable');
}

/** On a terminal a sentence; in a pipe columns, the name last. */
function lineOf(
  { kind, fid, device, host, domain, key, what, next }: FsckFinding,
  terminal: boolean,
): string {
  const name = domain === null ? '-' : `${domain}/${key}`;
  if (!terminal) return [kind, fid ?? '-', device ?? '-', what, next, domain ?? '-', key ?? '-'].join('\t');
  const where = device === null ? '' : ` on device ${device}${host === null ? '' : ` (${host})`}`;
  const blob = fid === null ? '' : ` fid ${fid}`;
  return `${kind}:${blob}${where}, ${escapeControls(name)}: ${what}; next: ${next}`;
}

/** Prints what was looked at and what was not, and says how it went. */
async function conclude({ out }: Session, state: State, away: Away[]): Promise<number> {
  const { compared, findings } = state;
  const found = Object.values(findings).reduce((sum, count) => sum + count, 0);
  away.sort((a, b) => a.device - b.device);
  if (out.json) {
    const clean = found === 0 && away.length === 0;
    await out.line(JSON.stringify({ event: 'done', clean, findings, compared, notLooked: away }));
  } else {
    const { replicas, files, directories, bytes } = compared;
    await out.line(
      `compared ${plural(replicas, 'copy', 'copies')} (${formatBytes(bytes)}), ${plural(files, 'file')}, ` +
        `${plural(directories, 'directory', 'directories')}: ${found === 0 ? 'nothing was found' : plural(found, 'finding')}`,
    );
    for (const { device, host, why } of away)
      out.note(`could not look at device ${device} (${host}): ${why}`);
  }
  if (found > 0) return EXIT.failed;
  return away.length > 0 ? EXIT.couldNotLook : EXIT.ok;
}
