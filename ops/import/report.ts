// What an import found and did, as lines and as numbers.
import { EXIT } from '../lib/failure.ts';
import { plural } from '../lib/format.ts';
import type { Output } from '../lib/output.ts';
import type { LocalFile, Origin } from './tree.ts';

/** Something that somebody should know of: an event with --json, else a line `event, detail, path`. */
export interface Notice {
  event: 'conflict' | 'partial' | 'skipped' | 'left' | 'failed' | 'missing' | 'deleted' | 'extra';
  path: string;
  [field: string]: unknown;
}

/** A version that took part in a conflict. */
export interface Version {
  /** The directory's name, or 'store'. */
  from: string;
  size: number;
  mtime: string;
}

export class Report {
  readonly counts = {
    /** Files that the directories hold, each once. */
    files: 0,
    bytes: 0,
    upToDate: 0,
    stored: 0,
    storedBytes: 0,
    /** Stored as another name for bytes that were there. */
    copied: 0,
    /** The bytes were there; time or mode were changed to the directory's. */
    touched: 0,
    conflicts: 0,
    /** Versions that lost a conflict and were put into the trash. */
    trashed: 0,
    /** Files that some of the directories lack. */
    partial: 0,
    /** Left out by a rule (never published, --exclude). */
    skipped: 0,
    /** Could not be taken: somebody should look. */
    left: 0,
    failed: 0,
    /** In the list of --known, and nowhere. */
    missing: 0,
    /** With --delete: in the store alone, and deleted there. */
    deleted: 0,
    /** With --delete: in the store alone, and still there, since something could not be taken. */
    extra: 0,
  };
  readonly #out: Output;
  /** Lines are written one after the other. */
  #writing: Promise<void> = Promise.resolve();

  constructor(out: Output) {
    this.#out = out;
  }

  skipped(origin: Origin, path: string, why: string, left: boolean): void {
    this.counts[left ? 'left' : 'skipped']++;
    this.#say({ event: left ? 'left' : 'skipped', origin: origin.name, why, path }, `${origin.name}: ${why}`);
  }

  failed(file: LocalFile, path: string, why: string): void {
    this.counts.failed++;
    this.#say({ event: 'failed', origin: file.origin.name, why, path }, `${file.origin.name}: ${why}`);
  }

  /** @param others what lost, and where it is now */
  conflict(path: string, kept: Version, others: (Version & { now: 'trash' | 'directory' })[]): void {
    this.counts.conflicts++;
    const lost = others.map(
      (one) => `${shown(one)} ${one.now === 'trash' ? 'is in the trash' : 'stays where it is'}`,
    );
    this.#say({ event: 'conflict', kept, others, path }, `kept ${shown(kept)}; ${lost.join('; ')}`);
  }

  /** @param known what the site's list says of it; undefined without a list */
  partial(path: string, present: Origin[], absent: Origin[], known: boolean | undefined): void {
    this.counts.partial++;
    const names = { in: present.map(({ name }) => name), absent: absent.map(({ name }) => name) };
    const said = known === undefined ? '' : known ? '; the site knows it' : '; the site does not know it';
    this.#say(
      { event: 'partial', ...names, known: known ?? null, path },
      `only in ${names.in.join(', ')}${said}`,
    );
  }

  missing(path: string): void {
    this.counts.missing++;
    this.#say({ event: 'missing', path }, 'the site knows it, and no directory has it');
  }

  /** The store has a file that no directory has. */
  extra(path: string, kept: boolean): void {
    this.counts[kept ? 'extra' : 'deleted']++;
    if (kept)
      this.#say({ event: 'extra', path }, 'only in the store; it stays, since not all could be taken');
    else this.#say({ event: 'deleted', path }, 'no directory has it');
  }

  /** Prints the totals and returns the exit code. */
  async end(dryRun: boolean): Promise<number> {
    const { counts } = this;
    await this.#writing;
    const left = counts.failed + counts.left;
    if (this.#out.json)
      await this.#out.line(JSON.stringify({ event: 'done', dryRun, ...counts, notTaken: left }));
    else await this.#out.line(this.#summary(dryRun));
    return left === 0 ? EXIT.ok : EXIT.failed;
  }

  #summary(dryRun: boolean): string {
    const { counts } = this;
    const would = dryRun ? 'to store' : 'stored';
    const parts = [
      `${plural(counts.files, 'file')}: ${counts.stored.toLocaleString('en-US')} ${would}`,
      `${counts.upToDate.toLocaleString('en-US')} were there`,
    ];
    const more: [number, string][] = [
      [counts.copied, 'copied within the store'],
      [counts.touched, 'given their time or mode'],
      [counts.conflicts, 'in conflict'],
      [counts.partial, 'not in all directories'],
      [counts.skipped, 'left out by rule'],
      [counts.missing, 'missing everywhere'],
      [counts.deleted, dryRun ? 'to delete' : 'deleted'],
      [counts.extra, 'only in the store'],
    ];
    for (const [n, what] of more) if (n > 0) parts.push(`${n.toLocaleString('en-US')} ${what}`);
    const left = counts.failed + counts.left;
    parts.push(`${left.toLocaleString('en-US')} left`);
    return parts.join(', ');
  }

  #say(notice: Notice, detail: string): void {
    const line = this.#out.json
      ? JSON.stringify(notice)
      : `${notice.event}\t${this.#out.name(detail)}\t${this.#out.name(notice.path)}`;
    this.#writing = this.#writing.then(() => this.#out.line(line));
  }
}

export function versionOf({ origin, size, mtimeMs }: LocalFile): Version {
  return { from: origin.name, size, mtime: new Date(mtimeMs).toISOString() };
}

function shown({ from, size, mtime }: Version): string {
  return `${from}'s of ${mtime.slice(0, 19)}Z (${plural(size, 'byte')})`;
}
