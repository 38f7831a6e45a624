// A MogileFS as a dump of its database has it, for one whose trackers do not run any more. All names are kept in memory, a
// few hundred bytes for each file; the bytes are read from storage nodes, or from devices that are mounted here.
import { pathToFileURL } from 'node:url';
import { blobPath } from '../../storage-node/layout.ts';
import { Failure } from '../lib/failure.ts';
import type { MogileDomain, MogileFile, MogileSource } from './source.ts';
import { hexOf, type Row, rowsOf, textOf } from './sql.ts';

/** Of MogileFS's schema, what is needed (its lib/MogileFS/Store.pm). */
const TABLES = new Set(['domain', 'class', 'file', 'file_on', 'device', 'host', 'checksum']);
const PAGE = 1_000;
const MD5 = '1';
/** Where storage nodes listen unless their host says otherwise. */
const HTTP_PORT = '7500';

interface Domain {
  name: string;
  /** By id; 0 is the one that every domain has. */
  classes: Map<string, { name: string; mindevcount: number }>;
  files: Map<string, { fid: number; class: string; length: number }>;
}

export class MogileDump implements MogileSource {
  /** Where devices are mounted: `dev1`, `dev2`, ... lie in it. */
  readonly #devices: string | undefined;
  /** By id. */
  readonly #domains = new Map<string, Domain>();
  readonly #named = new Map<string, Domain>();
  readonly #locations = new Map<number, number[]>();
  readonly #checksums = new Map<number, string>();
  readonly #hosts = new Map<string, string>();
  /** Device -> host. */
  readonly #placed = new Map<number, string>();

  private constructor(devices: string | undefined) {
    this.#devices = devices;
  }

  /** @throws Failure (exit 2) if it cannot be read, or is no dump of a MogileFS */
  static async read(file: string, devices?: string): Promise<MogileDump> {
    const dump = new MogileDump(devices);
    const seen = new Set<string>();
    for await (const row of rowsOf(file, TABLES)) {
      seen.add(row.table);
      dump.#take(row);
    }
    if (!seen.has('domain') || !seen.has('file')) {
      throw new Failure(`'${file}' has no rows of the tables 'domain' and 'file'`, {
        todo: "name a dump of MogileFS's database: mysqldump, pg_dump or SQLite's .dump, not compressed",
        exit: 2,
      });
    }
    for (const domain of dump.#domains.values()) dump.#named.set(domain.name, domain);
    return dump;
  }

  async domains(): Promise<MogileDomain[]> {
    return [...this.#domains.values()].map(({ name, classes }) => ({ name, classes: [...classes.values()] }));
  }

  async *keys(domain: string): AsyncGenerator<string[]> {
    let page: string[] = [];
    for (const key of this.#named.get(domain)?.files.keys() ?? []) {
      page.push(key);
      if (page.length < PAGE) continue;
      yield page;
      page = [];
    }
    if (page.length > 0) yield page;
  }

  async file(domain: string, key: string): Promise<MogileFile | undefined> {
    const of = this.#named.get(domain);
    const file = of?.files.get(key);
    if (of === undefined || file === undefined) return undefined;
    const { fid, length } = file;
    const name = of.classes.get(file.class)?.name ?? 'default';
    return { fid: String(fid), class: name, length, checksum: this.#checksums.get(fid) };
  }

  async paths(domain: string, key: string): Promise<string[]> {
    const fid = this.#named.get(domain)?.files.get(key)?.fid;
    if (fid === undefined) return [];
    const place = blobPath(fid);
    return (this.#locations.get(fid) ?? []).flatMap((device) => {
      if (this.#devices !== undefined)
        return [pathToFileURL(`${this.#devices}/dev${device}/${place}`).toString()];
      const host = this.#hosts.get(this.#placed.get(device) ?? '');
      return host === undefined ? [] : [`http://${host}/dev${device}/${place}`];
    });
  }

  close(): void {}

  #domain(dmid: string): Domain {
    const domain = this.#domains.get(dmid) ?? { name: dmid, classes: new Map(), files: new Map() };
    this.#domains.set(dmid, domain);
    return domain;
  }

  /** Tables come in any order. */
  #take({ table, columns, values }: Row): void {
    const raw = (column: string) => values[columns.indexOf(column)];
    const text = (column: string) => textOf(raw(column));
    const fid = Number(raw('fid'));
    if (table === 'domain') this.#domain(text('dmid')).name = text('namespace');
    else if (table === 'class') {
      const one = { name: text('classname'), mindevcount: Number(raw('mindevcount')) };
      this.#domain(text('dmid')).classes.set(text('classid'), one);
    } else if (table === 'file') {
      const one = { fid, class: text('classid'), length: Number(raw('length')) };
      // A file that is on its way out has no key.
      if (raw('dkey') != null) this.#domain(text('dmid')).files.set(text('dkey'), one);
    } else if (table === 'file_on') {
      const devices = this.#locations.get(fid);
      if (devices === undefined) this.#locations.set(fid, [Number(raw('devid'))]);
      else devices.push(Number(raw('devid')));
    } else if (table === 'device') {
      if (text('status') !== 'dead') this.#placed.set(Number(raw('devid')), text('hostid'));
    } else if (table === 'host') {
      const port = text('http_get_port') || text('http_port') || HTTP_PORT;
      const address = text('hostip') || text('hostname');
      if (text('status') !== 'dead') this.#hosts.set(text('hostid'), `${address}:${port}`);
    } else if (text('hashtype') === MD5) this.#checksums.set(fid, `MD5:${hexOf(raw('checksum') ?? '')}`);
  }
}
